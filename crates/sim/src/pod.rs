//! A pod: the start that claims and restores, as `restore init` does, and the sidecar that inherits the claim.

use crate::interloper::SimClock;
use crate::key::Key;
use crate::network::Network;
use crate::volume::Volume;
use anyhow::{Context, Result, bail, ensure};
use clock::{ManualClock, SeededIds};
use sqlite_replica::{
    Basis, Catalogue, Claim, Claimant, Claiming, Class, Config, Error, Event, Identity, Policy, Progress,
    RestoreOptions, RestorePlan, Step, Surroundings, Writer, restore,
};
use sqlite_tail::Options;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{OpenConfig, RetryPolicy, Store};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What a pod shares with the others of its world.
pub struct Around {
    /// The clock of all machines.
    pub clock: Arc<ManualClock>,
    /// Ids.
    pub ids: Arc<SeededIds>,
    /// Runs restores, which use threads.
    pub runtime: Runtime,
    /// In which form the replica is.
    pub key: Key,
}

/// One pod on a volume.
pub struct Pod {
    /// The volume it uses.
    pub volume: usize,
    /// Its connection.
    pub network: Network,
    store: Store,
    claim: Claim,
    writer: Option<Writer>,
    events: Arc<Mutex<Vec<Event>>>,
    stop: watch::Sender<bool>,
    /// It has lost its claim, and says so.
    pub fenced: bool,
    /// It refuses to write.
    pub refused: bool,
    /// It was fenced before this step.
    silent: bool,
}

/// Upkeep that has something to do within the minutes of a simulation.
fn hasty() -> Policy {
    let [a, b, c] = [5, 20, 60].map(Duration::from_secs);
    let mut policy = Policy {
        levels: [a, b, c],
        snapshot: Duration::from_secs(45),
        image: Duration::from_secs(120),
        thin: [a, b, c],
        grace: Duration::from_secs(10),
        verify: Some(Duration::from_secs(90)),
        ..Policy::default()
    };
    // Snapshots are given up as well.
    policy.keep.all = Duration::from_secs(90);
    (policy.keep.hourly, policy.keep.daily, policy.keep.weekly, policy.keep.monthly) = (1, 0, 0, 0);
    policy
}

/// How the start of a pod ended.
pub enum Started {
    /// It may run.
    Up(Box<Pod>),
    /// It will be tried again.
    Again(String),
}

/// Whose replica it is.
pub fn identity() -> Identity {
    Identity { cluster: "sim".into(), app: "app".into(), database: "app.db".into() }
}

/// A client over a connection: one attempt per request, so that each fate counts.
pub fn client(network: &Network, around: &Around) -> Store {
    let mut config = OpenConfig::new(around.clock.clone(), around.ids.clone());
    config.retry = RetryPolicy::none();
    Store::new(Arc::new(network.clone()), &config)
}

/// Restores the newest state, or that of `txid`, to `out`.
pub fn restore_to(store: &Store, around: &Around, out: &Path, txid: Option<u64>) -> Result<(), Error> {
    around.runtime.block_on(async {
        let catalogue = Catalogue::load(store).await?;
        let plan = RestorePlan::new(&catalogue, txid.and_then(ltx::Txid::new))?;
        let progress = Arc::new(Progress::default());
        let options = RestoreOptions { identities: around.key.identities(), ..RestoreOptions::default() };
        restore(store, &plan, out, &options, progress).await.map(drop)
    })
}

impl Pod {
    /// The init container: continue with what is there if that is allowed, else restore. Nobody has the database open.
    pub fn start(volume: &mut Volume, network: Network, healthy: &Store, around: &Around) -> Result<Started> {
        let store = client(&network, around);
        let identity = identity();
        let claimant = Claimant {
            store: &store,
            replica: "sim",
            identity: &identity,
            clock: &*around.clock,
            ids: &*around.ids,
            protection: &around.key.protection(),
        };
        let database = volume.database();
        let claim = |basis| around.runtime.block_on(claimant.claim(&database, basis));
        let kept = if database.exists() && volume.refused {
            Err(Error::Refused { what: String::new(), hint: String::new() })
        } else if database.exists() {
            claim(Basis::Kept)
        } else {
            // Something to restore, or the first start of all.
            let holds = around.runtime.block_on(Catalogue::load(healthy))?.newest().is_some();
            claim(if holds { Basis::Restored } else { Basis::Kept })
        };
        let claim = match kept {
            Ok(claim) if database.exists() || claim.txid == 0 => claim,
            Ok(claim) => {
                Self::restore(volume, &claimant, healthy, around, &claim)?;
                claim
            }
            // The volume is behind, or lost commits: what is in the replica counts.
            Err(error) if error.class() == Class::Refused => match claim(Basis::Restored) {
                Ok(claim) => {
                    Self::restore(volume, &claimant, healthy, around, &claim)?;
                    claim
                }
                Err(error) => return again(error),
            },
            Err(error) => return again(error),
        };
        let (stop, _) = watch::channel(false);
        let events = Arc::default();
        let pod = Pod {
            volume: volume.disk,
            network,
            store,
            claim,
            writer: None,
            events,
            stop,
            fenced: false,
            refused: false,
            silent: false,
        };
        Ok(Started::Up(Box::new(pod)))
    }

    fn restore(
        volume: &mut Volume,
        claimant: &Claimant<'_>,
        healthy: &Store,
        around: &Around,
        claim: &Claim,
    ) -> Result<()> {
        let database = volume.database();
        (volume.replaced, volume.refused, volume.reported) = (true, false, None);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        restore_to(healthy, around, &database, Some(claim.txid)).context("restore at the start of a pod")?;
        crate::disk::restored(volume.disk, "app.db");
        claimant.restored(&database, None).context("prove what was restored")?;
        Ok(())
    }

    /// The sidecar starts, if it does not run.
    pub fn run(&mut self, database: &Path, around: &Around) -> Result<String> {
        if self.writer.is_some() || self.fenced || self.refused || !database.exists() {
            return Ok("nothing to start".into());
        }
        let config = Config {
            database: database.to_owned(),
            replica: "sim".into(),
            identity: identity(),
            sync_interval: Duration::from_millis(500),
            drain: Duration::from_secs(10),
            adopt: false,
            once: false,
            convert_to_wal: false,
            upkeep: Some(hasty()),
            claim: Claiming::Inherited(self.claim),
            protection: around.key.protection(),
            l0_retention: Duration::from_secs(300),
        };
        let events = self.events.clone();
        let around = Surroundings {
            store: self.store.clone(),
            clock: Arc::new(SimClock(around.clock.clone())),
            ids: around.ids.clone(),
            host: Arc::new(self.network.clone()),
            events: Arc::new(move |event| {
                // A ghost tells nothing.
                if !crate::disk::is_dead() {
                    events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }),
            stop: self.stop.subscribe(),
            tail: Options {
                busy_timeout: Duration::ZERO,
                barrier_timeout: Duration::ZERO,
                checkpoint_frames: 20,
                barrier_max_frames: 8,
                ..Options::default()
            },
            inbox: Arc::default(),
        };
        match Writer::start(config, around) {
            Ok(writer) => {
                self.writer = Some(writer);
                Ok("up".into())
            }
            Err(error) => self.ended(&error),
        }
    }

    /// One pass of the writer.
    pub fn pass(&mut self) -> Result<String> {
        let Some(writer) = &mut self.writer else { return Ok("is down".into()) };
        match writer.pass() {
            Ok(Step::Wait(pause)) => Ok(format!("{:?}", pause.why)),
            Ok(Step::Done(finish)) => {
                self.writer = None;
                Ok(format!("{finish:?}"))
            }
            Err(error) => {
                self.writer = None;
                self.ended(&error)
            }
        }
    }

    fn ended(&mut self, error: &Error) -> Result<String> {
        match error {
            Error::Lost { .. } => {
                self.fenced = true;
                Ok("fenced".into())
            }
            error => match error.class() {
                Class::Retriable => Ok("failed, to be tried again".into()),
                // A ghost may see anything.
                _ if crate::disk::is_dead() => Ok("ended".into()),
                // A person would delete the pod; so does the world.
                Class::Refused => {
                    self.refused = true;
                    Ok("refused".into())
                }
                _ => bail!("the writer ended: {error}"),
            },
        }
    }

    /// Whether the writer runs.
    pub fn is_running(&self) -> bool {
        self.writer.is_some()
    }

    /// The sidecar is gone; what it sent may still arrive.
    pub fn kill(&mut self) {
        self.writer = None;
    }

    /// Its requests since the last question, for the trace. Who has lost its claim makes none any more (P4).
    pub fn take_requests(&mut self) -> Result<String> {
        let requests = self.network.take_log();
        ensure!(!self.silent || requests.is_empty(), "P4: a writer that lost its claim sends {requests:?}");
        self.silent = self.fenced;
        Ok(requests.join(", "))
    }

    /// What the writer said since the last question.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn again(error: Error) -> Result<Started> {
    match error.class() {
        Class::Retriable | Class::Fenced => Ok(Started::Again(format!("{:?}", error.class()))),
        _ if crate::disk::is_dead() => Ok(Started::Again("died".into())),
        _ => bail!("the start of a pod failed for good: {error}"),
    }
}
