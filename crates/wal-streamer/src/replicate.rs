//! `wal-streamer replicate`: one writer per database, one store client each, one process.

use crate::cli::Replicate;
use crate::observe::Observed;
use crate::pairs;
use clock::{Clock, IdGen, SystemClock, SystemIds};
use sqlite_replica::{Class, Config, Error, Finish};
use std::sync::Arc;
use std::time::Duration;
use store::OpenConfig;
use telemetry::{BuildInfo, Exit, Health, Registry, Shutdown, StoreMetrics, StreamerMetrics, http};
use tokio::sync::watch;

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

    let observed: Vec<Arc<Observed>> = pairs
        .iter()
        .map(|pair| {
            Arc::new(Observed::new(
                &pair.database,
                &pair.text,
                metrics.db(pair.label()),
                clock.clone(),
                health.clone(),
            ))
        })
        .collect();
    let server = match args.listen {
        None => None,
        Some(addr) => {
            let all = observed.clone();
            let status = Arc::new(
                move || serde_json::json!({ "databases": all.iter().map(|o| o.status()).collect::<Vec<_>>() }),
            );
            let server =
                http::serve(addr, registry.clone(), health.clone(), status, shutdown.clone()).await?;
            tracing::info!(addr = %server.addr(), "serving");
            Some(server)
        }
    };
    health.set_started();
    let beating = tokio::spawn(beat(health.clone(), observed.clone()));
    let (stop, stopped) = watch::channel(false);
    let forward = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            stop.send_replace(true);
        }
    });

    let writers = pairs.into_iter().zip(observed).map(|(pair, observed)| {
        let (args, clock, ids, requests, stopped) =
            (&args, clock.clone(), ids.clone(), requests.clone(), stopped.clone());
        async move {
            let config = Config {
                database: pair.database.clone(),
                replica: pair.text.clone(),
                identity: pair.identity,
                sync_interval: args.sync_interval,
                drain: args.drain,
                adopt: args.adopt,
                once: args.once,
                convert_to_wal: args.convert_to_wal,
            };
            let opened = store::open(&pair.url, OpenConfig::new(clock.clone(), ids.clone())).await;
            let store = opened
                .and_then(|s| if pair.scope.is_empty() { Ok(s) } else { s.scoped(&pair.scope) })
                .map_err(Error::from);
            let finish = match store {
                Ok(store) => {
                    store.set_observer(Arc::new(crate::observe::Requests(requests)));
                    let events = observed.clone();
                    sqlite_replica::run(
                        config,
                        store,
                        clock,
                        ids,
                        Arc::new(move |event| events.take(event)),
                        stopped,
                    )
                    .await
                }
                Err(error) => Err(error),
            };
            let exit = exit_of(&finish);
            if let Err(error) = &finish {
                observed.failed(error);
                eprintln!("wal-streamer: {}: {error}", pair.database.display());
            }
            exit
        }
    });
    let exits = futures::future::join_all(writers).await;
    forward.abort();
    beating.abort();
    shutdown.cancel();
    if let Some(server) = server {
        server.stopped().await;
    }
    Ok(exits.into_iter().max().unwrap_or(Exit::Done))
}

async fn beat(health: Arc<Health>, observed: Vec<Arc<Observed>>) {
    loop {
        health.beat();
        observed.iter().for_each(|o| o.refresh());
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
