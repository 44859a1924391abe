//! The order of events: one step after the other, drawn from the seed, written down, checked.

mod content;
mod crash;
mod history;
mod judge;
mod step;

use crate::disk;
use crate::entropy;
use crate::key::Key;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::pod::{Around, Pod, client};
use crate::volume::Volume;
use anyhow::{Context, Result};
use clock::{ManualClock, SeededIds};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use store::{MemoryStore, ObjectStore, Store};
use tempfile::TempDir;
use testkit::rng::Rng;

/// Pods, volumes and machines there are.
const VOLUMES: usize = 2;

/// Bytes, as the first thread of a process has them.
const STACK: usize = 8 << 20;

/// What a simulation came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What happened, line by line.
    pub trace: Vec<String>,
    /// How often each kind of thing happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What went wrong.
    pub failure: Option<String>,
}

/// See the module.
pub struct World {
    rng: Rng,
    around: Around,
    /// The store's clock, which does not jump.
    date: Arc<ManualClock>,
    bucket: Arc<dyn ObjectStore>,
    /// The store without trouble, for the oracle and for restores.
    healthy: Store,
    volumes: Vec<Volume>,
    pods: Vec<Option<Pod>>,
    /// Images of volumes from before, to be rolled back to.
    snapshots: Vec<Option<disk::Image>>,
    /// PUTs of dead processes, still under way.
    strays: Vec<BoxFuture<'static, ()>>,
    oracle: Oracle,
    history: history::History,
    outcome: Outcome,
    scratch: TempDir,
    trouble: u64,
    resting: bool,
    /// Steps without trouble to come.
    calm: u64,
}

/// Runs `steps` steps of `seed`, then lets everything come to rest and looks at the end.
pub fn run(seed: u64, steps: u64) -> Outcome {
    // A thread of its own: what others left in this one (generators of random numbers) is no part of the simulation.
    let play = std::thread::Builder::new()
        .name("simulation".into())
        .stack_size(STACK)
        .spawn(move || play(seed, steps));
    match play.expect("a thread can be started").join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn play(seed: u64, steps: u64) -> Outcome {
    crate::sqlite::seed(seed);
    entropy::begin(seed);
    let mut world = match World::new(seed) {
        Ok(world) => world,
        Err(error) => return Outcome { failure: Some(format!("{error:#}")), ..Outcome::default() },
    };
    let mut failure = None;
    for step in 0..steps {
        if let Err(error) = world.step(step) {
            failure = Some(format!("seed {seed}, step {step}: {error:#}"));
            break;
        }
    }
    if failure.is_none()
        && let Err(error) = world.rest()
    {
        failure = Some(format!("seed {seed}, at rest after {steps} steps: {error:#}"));
    }
    let mut outcome = std::mem::take(&mut world.outcome);
    outcome.failure = failure;
    world.end();
    outcome
}

impl World {
    fn new(seed: u64) -> Result<World> {
        let mut rng = Rng::new(seed);
        let scratch = tempfile::tempdir().context("make a scratch directory")?;
        let roots: Vec<PathBuf> = (0..VOLUMES).map(|v| scratch.path().join(format!("volume{v}"))).collect();
        for root in &roots {
            std::fs::create_dir(root).context("make a volume")?;
        }
        disk::begin(&roots);
        let start_ms = 1_800_000_000_000;
        let date = Arc::new(ManualClock::at(start_ms));
        let memory = MemoryStore::new(date.clone());
        let weak = rng.one_in(8);
        let bucket: Arc<dyn ObjectStore> =
            if weak { Arc::new(memory.without_create_only()) } else { Arc::new(memory) };
        let around = Around {
            clock: Arc::new(ManualClock::at(start_ms)),
            ids: Arc::new(SeededIds::new(rng.next_u64())),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build()?,
            key: Key::of(seed),
        };
        let healthy = client(&Network::healthy(bucket.clone()), &around);
        let trouble = *rng.pick(&[0, 6, 25]);
        let mut world = World {
            rng,
            around,
            date,
            bucket,
            healthy,
            volumes: roots.into_iter().enumerate().map(|(v, root)| Volume::new(v, root)).collect(),
            pods: (0..VOLUMES).map(|_| None).collect(),
            snapshots: vec![None; VOLUMES],
            strays: Vec::new(),
            oracle: Oracle::default(),
            history: history::History::default(),
            outcome: Outcome::default(),
            scratch,
            trouble,
            resting: false,
            calm: 0,
        };
        let sealed = world.around.key.seals();
        world.say(format!("weak store: {weak}, one request in {trouble} fails, sealed: {sealed}"));
        if sealed {
            world.count("sealed worlds");
        }
        Ok(world)
    }

    fn say(&mut self, line: String) {
        self.outcome.trace.push(line);
    }

    fn count(&mut self, what: &'static str) {
        *self.outcome.counts.entry(what).or_default() += 1;
    }

    fn end(mut self) {
        self.pods.clear();
        for volume in &mut self.volumes {
            volume.close_all();
        }
        disk::end();
    }
}
