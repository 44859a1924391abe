//! `etcd-shipper serve`: the bucket's truth as metrics, for all kinds of replicas.

use crate::cli::Serve;
use crate::failed;
use crate::metrics::short;
use clock::{Clock, SystemClock};
use door::Failure;
use etcd_replica::exporter::look;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use store::{OpenConfig, Store};
use telemetry::{BuildInfo, Exit, ExporterMetrics, Health, Registry, Sample, Shutdown, names};

/// The main loop beats at least this often.
const BEAT: Duration = Duration::from_secs(30);

struct Place {
    label: String,
    store: Store,
    /// The last complete look; shown until it ages.
    samples: Vec<Sample>,
}

pub(crate) async fn run(args: Serve) -> Result<Exit, Failure> {
    let failing = |error: telemetry::Error| Failure::new(Exit::Failed, error);
    let clock: Arc<SystemClock> = Arc::new(SystemClock);
    let registry = Arc::new(Registry::new(&BuildInfo::of("etcd-shipper"), clock.clone()).map_err(failing)?);
    let metrics = ExporterMetrics::new(&registry).map_err(failing)?;
    let health = Arc::new(Health::new(clock.clone(), BEAT * 20));
    let mut places = Vec::new();
    for url in &args.urls {
        let store = store::open(url, OpenConfig::default()).await.map_err(|error| failed(error.into()))?;
        places.push(Place { label: short(&url.to_string()), store, samples: Vec::new() });
    }
    let shutdown = Shutdown::on_signals().map_err(failing)?;
    let report = Arc::new(Mutex::new(serde_json::json!({ "destinations": {} })));
    let shown = report.clone();
    let status = Arc::new(move || shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone());
    let server = telemetry::http::serve(args.listen, registry, health.clone(), status, shutdown.clone());
    let server = server.await.map_err(failing)?;
    tracing::info!(addr = %server.addr(), "serving");
    health.set_started();
    loop {
        for place in &mut places {
            let said = refresh(place, &*clock).await;
            let mut report = report.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            report["destinations"][&place.label] = said.into();
            health.beat();
        }
        let mut all: Vec<Sample> = places.iter().flat_map(|place| place.samples.clone()).collect();
        // With the labels of the result, so that an alert can compare the two.
        let drilled: Vec<Sample> =
            all.iter().filter(|s| s.row == &names::DRILL_LAST_RESULT).cloned().collect();
        all.extend(drilled.into_iter().map(|sample| Sample {
            row: &names::DRILL_INTERVAL_SECONDS,
            value: args.drill_interval.as_secs_f64(),
            ..sample
        }));
        metrics.replace(&all);
        let mut left = args.refresh;
        while !left.is_zero() {
            let step = left.min(BEAT);
            tokio::select! {
                () = shutdown.cancelled() => {
                    server.stopped().await;
                    return Ok(Exit::Done);
                }
                () = tokio::time::sleep(step) => health.beat(),
            }
            left -= step;
        }
    }
}

/// Looks again; what a failed look leaves are the old numbers with their old times.
async fn refresh(place: &mut Place, clock: &dyn Clock) -> String {
    match look(&place.store, &place.label).await {
        Ok(mut samples) => {
            samples.push(Sample {
                row: &names::EXPORTER_LAST_SUCCESS_TIMESTAMP_SECONDS,
                labels: vec![place.label.clone()],
                value: (clock.unix_ms() / 1_000) as f64,
            });
            place.samples = samples;
            format!("read at {}", clock::format_unix_ms(clock.unix_ms()))
        }
        Err(error) => {
            tracing::warn!(destination = place.label, %error, "the store cannot be read");
            format!("cannot be read: {error}")
        }
    }
}
