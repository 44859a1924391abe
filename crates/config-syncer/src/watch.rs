//! `config-syncer watch`: one loop per tree, one process.
//!
//! In a pod nothing is touched before this pod's `restored.json` is there, and the claim is the one that `restore init` made. By hand
//! the watcher claims itself. A fenced loop ends the process with exit code 5 by hand; in a pod it stays up, unready, and exports
//! `fenced`, so that two pods never fence each other in turns (P4).

use crate::cli::Watch;
use crate::observe::{Observed, Requests};
use crate::trees::{Tree, resolve};
use anyhow::{Context, Result};
use clock::{Clock, IdGen, SystemClock, SystemIds};
use door::exit_of;
use file_replica::watch::{Finish, WatchOptions, watch};
use file_replica::{Class, Error, Inherited, Steps, Writer};
use protect::Description;
use protect::handover::Handover;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::OpenConfig;
use telemetry::{BuildInfo, Exit, Health, Registry, Shutdown, StoreMetrics, SyncerMetrics, http};
use tokio::sync::watch as channel;

/// A stalled main loop is noticed after this time.
const LIVE_LIMIT: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_secs(15);
const LOOK_FOR_HANDOVER: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: Watch) -> Result<Exit> {
    let resolved = resolve(&args.trees)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdGen> = Arc::new(SystemIds::default());
    let registry = Arc::new(Registry::new(&BuildInfo::of("config-syncer"), clock.clone())?);
    let metrics = Arc::new(SyncerMetrics::new(&registry)?);
    let requests = Arc::new(StoreMetrics::new(&registry)?);
    let health = Arc::new(Health::new(clock.clone(), LIVE_LIMIT));
    let shutdown = Shutdown::on_signals()?;
    let observed: Vec<Arc<Observed>> = resolved
        .trees
        .iter()
        .map(|t| {
            Arc::new(Observed::new(
                &t.name,
                &t.place.text,
                metrics.tree(&t.name),
                clock.clone(),
                health.clone(),
            ))
        })
        .collect();
    let status = {
        let all = observed.clone();
        Arc::new(move || serde_json::json!({ "trees": all.iter().map(|o| o.status()).collect::<Vec<_>>() }))
    };
    let server = http::serve(args.listen, registry.clone(), health.clone(), status, shutdown.clone()).await?;
    tracing::info!(addr = %server.addr(), "serving");
    let beating = tokio::spawn(beat(health.clone(), observed.clone()));
    let handover = match (&resolved.description, resolved.in_pod) {
        (Some(description), true) => match wait(&args.run_dir, description, &health, &shutdown).await? {
            Some(handover) => Some(handover),
            None => return Ok(Exit::Done),
        },
        _ => None,
    };
    let claims = inherited(&resolved.trees, handover.as_ref())?;
    health.set_started();
    let (stop, stopped) = channel::channel(false);
    let forward = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            stop.send_replace(true);
        }
    });
    let in_pod = resolved.in_pod;
    let loops = resolved.trees.into_iter().zip(observed).zip(claims).map(|((tree, observed), inherited)| {
        let context = Follower {
            args: &args,
            clock: clock.clone(),
            ids: ids.clone(),
            requests: requests.clone(),
            observed,
            inherited,
            in_pod,
            shutdown: shutdown.clone(),
            stopped: stopped.clone(),
        };
        context.run(tree)
    });
    let all = shutdown.deadline(args.drain, futures::future::join_all(loops)).await;
    forward.abort();
    beating.abort();
    shutdown.cancel();
    server.stopped().await;
    Ok(all.map_or(Exit::Partial, |exits| exits.into_iter().max().unwrap_or(Exit::Done)))
}

/// Waits for this pod's restore; `None` if told to stop before.
async fn wait(
    run_dir: &Path,
    description: &Description,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<Option<Handover>> {
    let path = Handover::path_in(run_dir);
    health.wait_for(format!("waiting for {}", path.display()));
    tracing::info!(path = %path.display(), "waiting for the restore of this pod");
    loop {
        if let Some(handover) = Handover::read(&path)? {
            handover.check(description).context("restored.json")?;
            return Ok(Some(handover));
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(LOOK_FOR_HANDOVER) => {}
        }
    }
}

/// The claims that the start of this pod made, in the order of the trees; `None` where a tree claims itself: by hand, and where the store
/// could not be asked when the pod started. A tree that the start knows nothing of is refused: it would claim over another pod's head.
fn inherited(trees: &[Tree], handover: Option<&Handover>) -> Result<Vec<Option<Inherited>>> {
    let claim = |tree: &Tree| {
        let Some(handover) = handover else { return Ok(None) };
        let restored = handover.tree(&tree.name).with_context(|| {
            format!("restored.json says nothing about {}; run restore init of the same version", tree.name)
        })?;
        Ok(restored.claimed.then(|| Inherited { epoch: restored.epoch.into() }))
    };
    trees.iter().map(claim).collect()
}

struct Follower<'a> {
    args: &'a Watch,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    requests: Arc<StoreMetrics>,
    observed: Arc<Observed>,
    inherited: Option<Inherited>,
    in_pod: bool,
    shutdown: Shutdown,
    stopped: channel::Receiver<bool>,
}

impl Follower<'_> {
    async fn run(self, tree: Tree) -> Exit {
        let finish = self.follow(tree).await;
        match finish {
            Ok(Finish::Complete) => Exit::Done,
            Ok(Finish::Partial) => Exit::Partial,
            Err(error) => {
                self.observed.failed(&error);
                eprintln!("config-syncer: {error}");
                if self.in_pod && error.class() == Class::Fenced {
                    self.shutdown.cancelled().await;
                }
                exit_of(error.class())
            }
        }
    }

    async fn follow(&self, tree: Tree) -> Result<Finish, Error> {
        let options = WatchOptions {
            quiet: self.args.debounce.unwrap_or(tree.debounce),
            most: self.args.max_wait,
            verify_every: self.args.verify_every,
            keep: tree.keep,
            prune_every: self.args.prune_every,
        };
        let Some(writer) = self.begin(&tree).await? else { return Ok(Finish::Complete) };
        self.observed.claimed(writer.epoch(), writer.snapshot_number());
        let sink = {
            let observed = self.observed.clone();
            Arc::new(move |event: file_replica::watch::Event<'_>| observed.take(event))
        };
        watch(writer, options, self.clock.clone(), self.ids.clone(), self.stopped.clone(), sink).await
    }

    /// Begins; a store that is down is waited for, everything else is told. In a pod a refusal is told again and again rather
    /// than ending the container: the application runs, and the metric says that its files are not stored.
    async fn begin(&self, tree: &Tree) -> Result<Option<Writer>, Error> {
        loop {
            let config = OpenConfig::new(self.clock.clone(), self.ids.clone());
            let store = match tree.place.open(config).await {
                Ok(store) => store,
                Err(error) => return Err(Error::Usage(format!("{error:#}"))),
            };
            store.set_observer(Arc::new(Requests(self.requests.clone())));
            let (clock, ids, settings) = (self.clock.clone(), self.ids.clone(), tree.settings.clone());
            let begun =
                Writer::begin(settings, store, clock, ids, self.inherited, None, Steps::default()).await;
            match begun {
                Ok(writer) => return Ok(Some(writer)),
                Err(error)
                    if error.class() == Class::Retriable
                        || (self.in_pod && error.class() == Class::Refused) =>
                {
                    self.observed.failed(&error);
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

async fn beat(health: Arc<Health>, observed: Vec<Arc<Observed>>) {
    loop {
        health.beat();
        observed.iter().for_each(|o| o.refresh());
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
