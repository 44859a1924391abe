//! What the fleet tells, as log lines, metrics, readiness and the status document.

mod database;
mod lag;

use crate::beside::Point;
use clock::Clock;
use database::Observed;
use protect::handover::Handover;
use serde_json::{Value, json};
use sqlite_replica::{Database, News};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use store::Store;
use telemetry::{BuildInfo, Health, StoreMetrics, StreamerMetrics};
use tokio::sync::mpsc::Sender;

/// Everything observed, by database file.
pub(crate) struct Observers {
    around: Around,
    /// SHA-256 of the description, if there is one.
    description: Option<String>,
    restored: OnceLock<Handover>,
    /// When a request to a store last ended, however it ended: a sign of life of a long upload.
    requests: Arc<Requests>,
    all: Mutex<BTreeMap<PathBuf, Arc<Observed>>>,
}

/// What every observed database needs.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) metrics: Arc<StreamerMetrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Arc<Health>,
    /// Without any sign of life for this long while commits wait, a database is stalled.
    pub(crate) stall_after: Duration,
    /// Restore points, for the status objects beside the replicas.
    pub(crate) points: Sender<Point>,
}

impl Observers {
    pub(crate) fn new(around: Around, description: Option<String>, requests: Arc<Requests>) -> Observers {
        Observers { around, description, restored: OnceLock::new(), requests, all: Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Observed>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observed(&self, database: &Database) -> Arc<Observed> {
        let mut all = self.all();
        let observed =
            all.entry(database.path.clone()).or_insert_with(|| Observed::new(database, self.around.clone()));
        observed.clone()
    }

    /// What `restore init` did is exported as it was written.
    pub(crate) fn restored(&self, handover: Handover) {
        let finished = clock::parse_unix_ms(&handover.finished).unwrap_or(0);
        for one in &handover.databases {
            let outcome = serde_json::to_value(one.outcome).expect("an outcome is a word");
            let outcome = outcome.as_str().unwrap_or_default();
            self.around.metrics.db(&one.path).restore(outcome, finished, one.seconds, one.bytes);
        }
        let _ = self.restored.set(handover); // once per process
    }

    /// Takes the news of a database, which may be a new one.
    pub(crate) fn take(&self, database: &Database, news: News<'_>) {
        let observed = self.observed(database);
        match news {
            News::Writer(event) => observed.take(event),
            News::Failed { error, retry_in } => observed.failed(error, retry_in),
            News::State(_) => {}
        }
    }

    /// How often restore points are due, per database.
    pub(crate) fn interval(&self, name: &str, every: Duration) {
        self.around.metrics.db(name).intervals(every.as_secs_f64(), every.as_secs_f64());
    }

    /// What changes without events: called every few seconds.
    pub(crate) fn refresh(&self) {
        let life = self.requests.last_ns();
        self.all().values().for_each(|observed| observed.refresh(life));
    }

    /// What the clients know of the store.
    pub(crate) fn store(&self, store: &Store) {
        if let Some(skew) = store.server_date_skew() {
            self.around.metrics.clock_skew(skew);
        }
        self.around.metrics.single_writer(store.is_fenced_weakly());
    }

    /// The status document: `/status`, the page, and the answer of the control socket.
    pub(crate) fn document(&self) -> Value {
        let build = BuildInfo::of(crate::PROGRAM);
        let restored = self.restored.get();
        json!({
            "component": build.component,
            "version": build.version,
            "description": self.description,
            "restored": restored.map(|handover| &handover.finished),
            "databases": self.all().values().map(|o| o.status(restored)).collect::<Vec<_>>(),
        })
    }
}

/// Requests to the store as metrics, and as signs of life.
pub(crate) struct Requests {
    metrics: Arc<StoreMetrics>,
    clock: Arc<dyn Clock>,
    last_ns: AtomicU64,
}

impl Requests {
    pub(crate) fn new(metrics: Arc<StoreMetrics>, clock: Arc<dyn Clock>) -> Arc<Requests> {
        let last_ns = AtomicU64::new(clock.monotonic_ns());
        Arc::new(Requests { metrics, clock, last_ns })
    }

    fn last_ns(&self) -> u64 {
        self.last_ns.load(Ordering::Relaxed)
    }
}

impl store::Observer for Requests {
    fn observe(&self, o: &store::Observation) {
        self.last_ns.store(self.clock.monotonic_ns(), Ordering::Relaxed);
        let error = (o.outcome != "ok").then_some(o.outcome);
        self.metrics.request(o.operation.as_str(), o.duration.as_secs_f64(), error, 0, o.sent);
    }
}
