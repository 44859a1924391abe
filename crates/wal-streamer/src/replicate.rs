//! `wal-streamer replicate`: a fleet with what its surroundings need to know of it.

use crate::cli::{Replicate, Span, Switch};
use crate::observe::{Around, Observers, Requests};
use crate::pairs::{self, Pairs};
use crate::stores::Clients;
use crate::{access, beside, memory, pod, serve};
use clock::{Clock, IdGen, SystemClock, SystemIds};
use door::{Failure, exit_of};
use protect::handover::Handover;
use sqlite_replica::{
    Claim, Claiming, Config, Fill, Finish, Fleet, FleetConfig, Found, News, Outcome, Target,
};
use std::sync::Arc;
use std::time::Duration;
use store::UploadLimit;
use telemetry::{BuildInfo, Exit, Health, Registry, Shutdown, StoreMetrics, StreamerMetrics, volume};
use tokio::sync::watch;

/// A stalled main loop is noticed after this time.
const LIVE_LIMIT: Duration = Duration::from_secs(60);
/// How often what changes without events is looked at.
const BEAT: Duration = Duration::from_secs(5);
/// Beats between two times that freed memory is given back: a minute.
const TIDY: u64 = 12;
/// How often size and free bytes of the volume are read when its fdatasync is not timed.
const SPACE: Duration = Duration::from_secs(30);
/// How long level 0 files are kept once they are compacted; Litestream's default, and ours.
const L0_RETENTION: Duration = Duration::from_secs(300);

/// Runs all writers until told to stop.
pub(crate) async fn run(args: Replicate) -> Result<Exit, Failure> {
    let pairs = pairs::resolve(&args.selection).map_err(Failure::usage)?;
    let failed = |error: telemetry::Error| Failure::new(Exit::Failed, error);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdGen> = Arc::new(SystemIds::default());
    let registry = Arc::new(Registry::new(&BuildInfo::of(crate::PROGRAM), clock.clone()).map_err(failed)?);
    let metrics = Arc::new(StreamerMetrics::new(&registry).map_err(failed)?);
    let requests = Requests::new(Arc::new(StoreMetrics::new(&registry).map_err(failed)?), clock.clone());
    let health = Arc::new(Health::new(clock.clone(), LIVE_LIMIT));
    let shutdown = Shutdown::on_signals().map_err(failed)?;
    let points = beside::points();
    let around = Around {
        metrics: metrics.clone(),
        clock: clock.clone(),
        health: health.clone(),
        stall_after: args.stall_after,
        points: points.0,
    };
    let fingerprint = pairs.description.as_ref().map(protect::Description::fingerprint);
    let observers = Arc::new(Observers::new(around, fingerprint, requests.clone()));
    if args.litestream_metrics {
        registry.alias_litestream(pairs.store_kind());
    }

    // The listeners outlive the drain: what is still to be done can be seen, and asked for, to the end.
    let over = Shutdown::manual();
    let server = serve::http(&args, pairs.in_pod, &registry, &health, &observers, &over).await?;
    let handover = match &pairs.description {
        Some(description) if pairs.in_pod => {
            match pod::handover(&args.run_dir, description, &health, &shutdown).await? {
                Some(handover) => Some(handover),
                None => return Ok(Exit::Done),
            }
        }
        _ => None,
    };
    // A directory of databases may be there only since the restore, so what an entry stands for is looked at once more.
    let pairs = match &handover {
        Some(_) => pairs::resolve(&args.selection).map_err(Failure::usage)?,
        None => pairs,
    };
    if let Some(handover) = &handover {
        observers.restored(handover.clone());
    }

    let limit = args.max_upload_rate.map(|rate| UploadLimit::new(rate, clock.clone()));
    let clients = Arc::new(Clients::new(pairs.common.clone(), clock.clone(), ids.clone(), requests, limit));
    let (volume, in_pod) = (pairs.volume.clone(), pairs.in_pod);
    let identity = pairs.all.first().map(|pair| pair.identity.clone());
    let (app, cluster) = identity.map_or_else(Default::default, |identity| (identity.app, identity.cluster));
    for pair in &pairs.all {
        observers.interval(&pair.identity.database, pair.policy.snapshot);
    }
    let fleet = {
        let config = FleetConfig {
            targets: targets(pairs, &args, handover.as_ref()),
            limits: sqlite_replica::Limits::default(),
            stay: in_pod,
        };
        let observers = observers.clone();
        let listener = Arc::new(move |database: &_, news: News<'_>| observers.take(database, news));
        Fleet::new(config, clients.clone(), clock.clone(), ids.clone(), listener).map_err(Failure::usage)?
    };
    let control = serve::socket(&args, in_pod, &volume, fleet.handle(), &observers, &over)?;
    health.set_started();
    let (every, fsync) = match args.fsync_probe {
        Switch::On(Span(every)) => (every, true),
        Switch::Off => (SPACE, false),
    };
    let writing = tokio::spawn(beside::write(points.1, clients.clone(), app, cluster));
    let watching = tokio::spawn(volume::watch(volume.join(".highwater"), metrics, clock, every, fsync));
    let probing = match args.probe_interval {
        Switch::On(Span(every)) if !args.once => Some(tokio::spawn(access::watch(clients.clone(), every))),
        _ => None,
    };
    let beating = tokio::spawn(beat(health, observers, clients));
    if in_pod {
        let nanos = u64::try_from(args.start_jitter.as_nanos()).unwrap_or(u64::MAX).max(1);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_nanos(ids.next_u64() % nanos)) => {}
            () = shutdown.cancelled() => {}
        }
    }
    let (stop, stopped) = watch::channel(false);
    let forward = tokio::spawn(async move {
        shutdown.cancelled().await;
        stop.send_replace(true);
    });

    let outcomes = fleet.run(stopped).await;
    for task in [forward, beating, watching, writing].into_iter().chain(probing) {
        task.abort();
    }
    over.cancel();
    if let Some(control) = control {
        control.stopped().await;
    }
    if let Some(server) = server {
        server.stopped().await;
    }
    Ok(outcomes.iter().map(tell).max().unwrap_or(Exit::Done))
}

fn targets(pairs: Pairs, args: &Replicate, handover: Option<&Handover>) -> Vec<Target> {
    let protection = pairs.protection;
    let target = |pair: pairs::Pair| {
        let writer = Config {
            claim: claim(handover, &pair.identity.database),
            database: pair.database,
            replica: pair.replica,
            identity: pair.identity,
            sync_interval: args.sync_interval,
            drain: args.drain,
            adopt: args.adopt,
            once: args.once,
            convert_to_wal: args.convert_to_wal,
            upkeep: Some(pair.policy),
            protection: protection.clone(),
            l0_retention: L0_RETENTION,
        };
        let found = pair.found.map(|found| with_claims(found, handover.cloned()));
        Target { place: pair.place, writer, found }
    };
    pairs.all.into_iter().map(target).collect()
}

/// The claim that the start of the pod made for a database.
fn claim(handover: Option<&Handover>, name: &str) -> Claiming {
    match handover.map(|handover| handover.database(name)) {
        None => Claiming::ByHand,
        Some(Some(one)) if one.claimed => {
            Claiming::Inherited(Claim { lineage: one.lineage, epoch: one.epoch, txid: one.txid })
        }
        Some(_) => Claiming::Late,
    }
}

/// Each database that is found has a claim of its own, or none if it is newer than the pod.
fn with_claims(found: Found, handover: Option<Handover>) -> Found {
    let Fill(fill) = found.fill.clone();
    let fill = move |name: &str, writer: &mut Config| {
        writer.claim = claim(handover.as_ref(), name);
        fill(name, writer)
    };
    Found { fill: Fill(Arc::new(fill)), ..found }
}

async fn beat(health: Arc<Health>, observers: Arc<Observers>, clients: Arc<Clients>) {
    for beat in 1_u64.. {
        health.beat();
        if beat.is_multiple_of(TIDY) {
            memory::give_back();
        }
        observers.refresh();
        clients.each(|store| observers.store(store)).await;
        tokio::time::sleep(BEAT).await;
    }
}

/// The line and the exit code of one database.
fn tell(outcome: &Outcome) -> Exit {
    match &outcome.finish {
        Ok(Finish::Complete) => Exit::Done,
        Ok(Finish::Partial) => Exit::Partial,
        Err(error) => {
            let (path, text) = (outcome.database.path.display().to_string(), error.to_string());
            // Many errors name the file themselves.
            match text.contains(&path) {
                true => eprintln!("{}: {text}", crate::PROGRAM),
                false => eprintln!("{}: {path}: {text}", crate::PROGRAM),
            }
            exit_of(error.class())
        }
    }
}
