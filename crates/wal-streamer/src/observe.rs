//! Events of one writer as log lines, metrics and status.

use clock::Clock;
use sqlite_replica::{Class, Database, Error, Event, News};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use telemetry::{DbMetrics, Health, StoreMetrics, StreamerMetrics};

/// Everything observed, by database file.
pub(crate) struct Observers {
    metrics: Arc<StreamerMetrics>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    all: Mutex<BTreeMap<PathBuf, Arc<Observed>>>,
}

impl Observers {
    pub(crate) fn new(
        metrics: Arc<StreamerMetrics>,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
    ) -> Observers {
        Observers { metrics, clock, health, all: Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Observed>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observed(&self, database: &Database) -> Arc<Observed> {
        let mut all = self.all();
        let observed = all.entry(database.path.clone()).or_insert_with(|| {
            let metrics = self.metrics.db(&database.name);
            let (path, replica) = (&database.path, &database.replica);
            Arc::new(Observed::new(path, replica, metrics, self.clock.clone(), self.health.clone()))
        });
        observed.clone()
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

    pub(crate) fn each(&self, each: impl Fn(&Observed)) {
        self.all().values().for_each(|observed| each(observed));
    }

    /// For `/status`.
    pub(crate) fn status(&self) -> Vec<serde_json::Value> {
        self.all().values().map(|observed| observed.status()).collect()
    }
}

/// What is known of one database.
pub(crate) struct Observed {
    path: PathBuf,
    replica: String,
    metrics: DbMetrics,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    state: &'static str,
    error: Option<String>,
    epoch: u32,
    txid: u64,
    db_bytes: u64,
    page_size: u32,
    last_durable_ms: i64,
    /// When the oldest commit that is not durable was seen.
    behind_since_ns: Option<u64>,
    behind_bytes: u64,
    checkpoints: u64,
    last_caught_up_ns: u64,
}

/// An idle pass counts at most this often, so that a busy loop does not distort the counter.
const IDLE_PASS_NS: u64 = 5_000_000_000;

impl Observed {
    pub(crate) fn new(
        path: &Path,
        replica: &str,
        metrics: DbMetrics,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
    ) -> Observed {
        let seen = Mutex::new(Seen { state: "starting", ..Seen::default() });
        Observed { path: path.to_owned(), replica: replica.to_owned(), metrics, clock, health, seen }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one event of the writer.
    pub(crate) fn take(&self, event: Event) {
        let db = self.path.display();
        let now = self.clock.monotonic_ns();
        let mut seen = self.seen();
        match event {
            Event::Waiting => {
                seen.state = "waiting for the database";
                tracing::info!(%db, "no database yet, waiting for it");
            }
            Event::Attached { page_size } => {
                seen.page_size = page_size;
                tracing::info!(%db, page_size, "attached");
            }
            Event::WeakStore => {
                tracing::warn!(%db, "the store accepts a second create: a second writer cannot be fenced reliably (single-writer mode)");
            }
            Event::Fenced { why } => {
                seen.state = "fenced";
                self.metrics.claim(u64::from(seen.epoch), true);
                tracing::error!(%db, why, "fenced: nothing is written any more");
            }
            Event::Claimed { epoch, txid } => {
                seen.epoch = epoch;
                seen.txid = txid;
                self.metrics.claim(u64::from(epoch), false);
                tracing::info!(%db, epoch, txid, "claimed");
            }
            Event::Resumed => tracing::info!(%db, "continuing where the last run ended"),
            Event::Compared { reason, pages } => {
                tracing::info!(%db, reason, pages, "compared the database with the replica")
            }
            Event::ImageStarted { pages, why } => {
                seen.state = "sending the first image";
                tracing::info!(%db, pages, why, "sending a full image");
            }
            Event::Behind { wal_bytes } => {
                seen.behind_since_ns.get_or_insert(now);
                seen.behind_bytes = wal_bytes;
                self.metrics.sync_attempt();
                self.metrics.lag(self.lag(&seen, now), wal_bytes, 0);
            }
            Event::Durable { txid, bytes, db_pages, lag, put } => {
                seen.state = "streaming";
                seen.error = None;
                seen.txid = txid;
                seen.behind_since_ns = None;
                seen.db_bytes = u64::from(db_pages) * u64::from(seen.page_size);
                seen.last_durable_ms = self.clock.unix_ms();
                self.metrics.uploaded(bytes);
                self.metrics.synced(seen.last_durable_ms, Some(put.as_secs_f64()));
                self.metrics.positions(txid, txid);
                self.metrics.lag(0.0, 0, 0);
                tracing::debug!(%db, txid, bytes, lag_ms = lag.as_millis() as u64, put_ms = put.as_millis() as u64, "durable");
            }
            Event::CaughtUp => {
                seen.state = "streaming";
                seen.behind_since_ns = None;
                if now.saturating_sub(seen.last_caught_up_ns) >= IDLE_PASS_NS {
                    seen.last_caught_up_ns = now;
                    self.metrics.sync_attempt();
                    self.metrics.synced(self.clock.unix_ms(), None);
                    self.metrics.lag(0.0, 0, 0);
                }
            }
            Event::UploadFailed { error, reason, retry_in } => {
                if seen.error.is_none() {
                    tracing::warn!(%db, error, retry_in_ms = retry_in.as_millis() as u64, "upload failed, it will be repeated");
                }
                seen.state = "behind";
                seen.error = Some(error);
                self.metrics.sync_error(reason);
                self.metrics.lag(self.lag(&seen, now), seen.behind_bytes, 0);
            }
            Event::WriteLock { held } => self.metrics.write_lock_held(held.as_secs_f64()),
            Event::Tail { checkpoints, wal_bytes } => {
                for _ in seen.checkpoints..checkpoints {
                    self.metrics.checkpoint("passive", "ok");
                }
                seen.checkpoints = checkpoints;
                self.metrics.files(seen.db_bytes, wal_bytes);
            }
        }
    }

    /// The writer ended with an error.
    pub(crate) fn failed(&self, error: &Error, retry_in: Option<Duration>) {
        let mut seen = self.seen();
        seen.state = "failed";
        seen.error = Some(error.to_string());
        let epoch = u64::from(seen.epoch);
        if error.class() == Class::Fenced {
            seen.state = "fenced";
            self.metrics.claim(epoch, true);
            self.health.hold_ready("fenced", "another writer owns the data");
        }
        self.metrics.sync_error("other");
        let db = self.path.display();
        match retry_in {
            Some(pause) => {
                tracing::warn!(%db, %error, retry_in_ms = pause.as_millis() as u64, "failed, it will be started again");
            }
            None => tracing::error!(%db, %error, "stopped"),
        }
    }

    /// Lag grows without events: called every few seconds.
    pub(crate) fn refresh(&self) {
        let seen = self.seen();
        if seen.behind_since_ns.is_some() {
            self.metrics.lag(self.lag(&seen, self.clock.monotonic_ns()), seen.behind_bytes, 0);
        }
    }

    fn lag(&self, seen: &Seen, now: u64) -> f64 {
        seen.behind_since_ns.map_or(0.0, |since| now.saturating_sub(since) as f64 / 1e9)
    }

    /// For `/status`.
    pub(crate) fn status(&self) -> serde_json::Value {
        let seen = self.seen();
        serde_json::json!({
            "database": self.path,
            "replica": self.replica,
            "state": seen.state,
            "error": seen.error,
            "epoch": seen.epoch,
            "txid": format!("{:016x}", seen.txid),
            "lag_seconds": self.lag(&seen, self.clock.monotonic_ns()),
            "last_durable": (seen.last_durable_ms > 0).then(|| clock::format_unix_ms(seen.last_durable_ms)),
        })
    }
}

/// Requests to the store as metrics.
pub(crate) struct Requests(pub(crate) Arc<StoreMetrics>);

impl store::Observer for Requests {
    fn observe(&self, o: &store::Observation) {
        let error = (o.outcome != "ok").then_some(o.outcome);
        self.0.request(o.operation.as_str(), o.duration.as_secs_f64(), error, 0, o.sent);
    }
}
