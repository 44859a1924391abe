//! `wal-streamer replicate`: a fleet with what its surroundings need to know of it.

use crate::cli::Replicate;
use crate::observe::{Observed, Observers};
use crate::pairs;
use crate::stores::Clients;
use clock::{Clock, IdGen, SystemClock, SystemIds};
use sqlite_replica::{Claiming, Class, Config, Finish, Fleet, FleetConfig, Target};
use std::sync::Arc;
use std::time::Duration;
use telemetry::{BuildInfo, Exit, Health, Registry, Shutdown, StoreMetrics, StreamerMetrics, http};
use tokio::sync::watch;

/// How long Litestream keeps compacted level 0 files by default, and we do.
const L0_RETENTION: Duration = Duration::from_secs(300);
/// A stalled main loop is noticed after this time.
const LIVE_LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: Replicate) -> Exit {
    match replicate(args).await {
        Ok(exit) => exit,
        Err(usage) => {
            eprintln!("wal-streamer: {usage}");
            Exit::Usage
        }
    }
}

/// Runs all writers; an `Err` is a usage error, before anything began.
async fn replicate(args: Replicate) -> anyhow::Result<Exit> {
    let pairs = pairs::resolve(&args)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdGen> = Arc::new(SystemIds::default());
    let registry = Arc::new(Registry::new(&BuildInfo::of("wal-streamer"), clock.clone())?);
    let metrics = Arc::new(StreamerMetrics::new(&registry)?);
    let requests = Arc::new(StoreMetrics::new(&registry)?);
    let health = Arc::new(Health::new(clock.clone(), LIVE_LIMIT));
    let shutdown = Shutdown::on_signals()?;

    let observers = Arc::new(Observers::new(metrics, clock.clone(), health.clone()));
    let common = pairs.common.clone();
    let targets = pairs.all.into_iter().map(|pair| target(pair, &args)).collect();
    let config = FleetConfig { targets, stay: false };
    let clients = Arc::new(Clients::new(common, clock.clone(), ids.clone(), requests));
    let listener = {
        let observers = observers.clone();
        Arc::new(move |database: &_, news: sqlite_replica::News<'_>| observers.take(database, news))
    };
    let fleet = Fleet::new(config, clients, clock.clone(), ids, listener)?;
    let server = match args.listen {
        None => None,
        Some(addr) => {
            let all = observers.clone();
            let status = Arc::new(move || serde_json::json!({ "databases": all.status() }));
            let server =
                http::serve(addr, registry.clone(), health.clone(), status, shutdown.clone()).await?;
            tracing::info!(addr = %server.addr(), "serving");
            Some(server)
        }
    };
    health.set_started();
    let beating = tokio::spawn(beat(health.clone(), observers.clone()));
    let (stop, stopped) = watch::channel(false);
    let forward = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            stop.send_replace(true);
        }
    });

    let outcomes = fleet.run(stopped).await;
    forward.abort();
    beating.abort();
    shutdown.cancel();
    if let Some(server) = server {
        server.stopped().await;
    }
    let exits = outcomes.iter().map(|outcome| {
        if let Err(error) = &outcome.finish {
            eprintln!("wal-streamer: {}: {error}", outcome.database.path.display());
        }
        exit_of(&outcome.finish)
    });
    Ok(exits.max().unwrap_or(Exit::Done))
}

fn target(pair: pairs::Pair, args: &Replicate) -> Target {
    let writer = Config {
        database: pair.database,
        replica: pair.replica,
        identity: pair.identity,
        sync_interval: args.sync_interval,
        drain: args.drain,
        adopt: args.adopt,
        once: args.once,
        convert_to_wal: args.convert_to_wal,
        claim: Claiming::ByHand,
        l0_retention: L0_RETENTION,
    };
    Target { place: pair.place, writer }
}

async fn beat(health: Arc<Health>, observers: Arc<Observers>) {
    loop {
        health.beat();
        observers.each(Observed::refresh);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

fn exit_of(finish: &sqlite_replica::Result<Finish>) -> Exit {
    match finish {
        Ok(Finish::Complete) => Exit::Done,
        Ok(Finish::Partial) => Exit::Partial,
        Err(error) => match error.class() {
            Class::Retriable => Exit::Failed,
            Class::Usage => Exit::Usage,
            Class::Refused => Exit::Refused,
            Class::Damaged => Exit::Damaged,
            Class::Fenced => Exit::Fenced,
        },
    }
}
