//! Events of one writer as log lines, metrics and status.

use super::Around;
use super::lag::Lag;
use crate::beside::Point;
use crate::upkeep;
use protect::handover::Handover;
use serde_json::Value;
use sqlite_replica::{Class, Database, Error, Event, Report};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use telemetry::DbMetrics;

/// What is known of one database.
pub(super) struct Observed {
    database: Database,
    metrics: DbMetrics,
    around: Around,
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
    lag: Lag,
    checkpoints: u64,
    last_idle_ns: u64,
    /// When it last said anything.
    last_event_ns: u64,
    stalled: bool,
    /// Unix ms; 0 for never.
    snapshot_ms: i64,
    point_ms: i64,
    proven_ms: i64,
    /// When it was last verified, and whether nothing was wrong.
    verified: Option<(i64, bool)>,
    /// The last retention run could not delete.
    prune_failed: bool,
}

/// An idle pass counts at most this often, so that a busy loop does not distort the counter.
const IDLE_PASS_NS: u64 = 5_000_000_000;

impl Observed {
    pub(super) fn new(database: &Database, around: Around) -> Arc<Observed> {
        let metrics = around.metrics.db(&database.name);
        metrics.stalled(false);
        let last_event_ns = around.clock.monotonic_ns();
        let seen = Mutex::new(Seen { state: "starting", last_event_ns, ..Seen::default() });
        Arc::new(Observed { database: database.clone(), metrics, around, seen })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one event of the writer.
    pub(super) fn take(&self, event: Event) {
        let db = self.database.path.display();
        let now = self.around.clock.monotonic_ns();
        let mut seen = self.seen();
        seen.last_event_ns = now;
        match event {
            Event::Waiting => {
                seen.state = "waiting for the database";
                tracing::info!(%db, "no database yet, waiting for it");
            }
            Event::Attached { page_size } => {
                seen.page_size = page_size;
                seen.checkpoints = 0;
                seen.lag.attached(page_size);
                tracing::info!(%db, page_size, "attached");
            }
            Event::WeakStore => {
                self.around.metrics.single_writer(true);
                tracing::warn!(%db, "the store accepts a second create: a second writer cannot be fenced reliably (single-writer mode)");
            }
            Event::Claimed { epoch, txid } => {
                seen.epoch = epoch;
                seen.txid = txid;
                self.metrics.claim(u64::from(epoch), false);
                tracing::info!(%db, epoch, txid, "claimed");
            }
            Event::Fenced { why } => {
                tracing::error!(%db, why, "fenced: nothing is written any more");
                self.fenced(&mut seen, why);
            }
            Event::Resumed => tracing::info!(%db, "continuing where the last run ended"),
            Event::Compared { reason, pages } => {
                tracing::info!(%db, reason, pages, "compared the database with the replica")
            }
            Event::Damaged { what } => tracing::error!(%db, what, "the database is damaged"),
            Event::ImageStarted { pages, why } => {
                seen.state = "sending a full image";
                tracing::info!(%db, pages, why, "sending a full image");
            }
            Event::Behind { .. } => {
                seen.lag.behind(now);
                self.metrics.sync_attempt();
                self.metrics.positions(seen.txid + 1, seen.txid);
                self.show_lag(&seen, now);
            }
            Event::Copied(taken) => seen.lag.copied(taken),
            Event::Durable { txid, bytes, taken, db_pages, lag, put } => {
                seen.state = "streaming";
                seen.error = None;
                seen.txid = txid;
                seen.lag.durable(taken);
                seen.db_bytes = u64::from(db_pages) * u64::from(seen.page_size);
                seen.last_durable_ms = self.around.clock.unix_ms();
                self.metrics.uploaded(bytes);
                self.metrics.synced(seen.last_durable_ms, Some(put.as_secs_f64()));
                self.metrics.positions(txid + u64::from(seen.lag.is_behind()), txid);
                self.show_lag(&seen, now);
                tracing::debug!(%db, txid, bytes, lag_ms = lag.as_millis() as u64, put_ms = put.as_millis() as u64, "durable");
            }
            Event::CaughtUp => {
                seen.state = "streaming";
                let behind = seen.lag.is_behind();
                seen.lag.caught_up();
                if behind || now.saturating_sub(seen.last_idle_ns) >= IDLE_PASS_NS {
                    seen.last_idle_ns = now;
                    self.metrics.sync_attempt();
                    self.metrics.synced(self.around.clock.unix_ms(), None);
                    self.metrics.positions(seen.txid, seen.txid);
                    self.show_lag(&seen, now);
                }
            }
            Event::UploadFailed { error, reason, retry_in } => {
                if seen.error.is_none() {
                    tracing::warn!(%db, error, retry_in_ms = retry_in.as_millis() as u64, "upload failed, it will be repeated");
                }
                seen.state = "behind";
                seen.error = Some(error);
                self.sync_error(reason);
                self.show_lag(&seen, now);
            }
            Event::WriteLock { held } => self.metrics.write_lock_held(held.as_secs_f64()),
            Event::Upkeep(report) => {
                let at_ms = self.around.clock.unix_ms();
                // First, so that the bucket is never told what the metrics do not know yet.
                upkeep::note(db, &self.metrics, at_ms, report.clone());
                self.keep(&mut seen, &report, at_ms);
            }
            Event::Tail { checkpoints, wal_bytes } => {
                for _ in seen.checkpoints..checkpoints {
                    self.metrics.checkpoint("passive", "ok");
                }
                seen.checkpoints = checkpoints;
                self.metrics.files(seen.db_bytes, wal_bytes);
            }
        }
    }

    /// A full volume is seen here before the next probe of it, which also sees when it is not full any more.
    fn sync_error(&self, reason: &'static str) {
        self.metrics.sync_error(reason);
        if reason == "disk_full" {
            self.around.metrics.volume_full(true);
        }
    }

    /// What upkeep reports, as far as the status shows it.
    fn keep(&self, seen: &mut Seen, report: &Report, at_ms: i64) {
        match report {
            Report::ImageStored { .. } => seen.snapshot_ms = at_ms,
            Report::RestorePoint { proven, .. } => {
                seen.point_ms = at_ms;
                if *proven {
                    seen.proven_ms = at_ms;
                }
                let (database, size_bytes) = (self.database.clone(), seen.db_bytes);
                let point = Point { database, at_ms, proven_ms: seen.proven_ms, size_bytes };
                // Full means that older points wait: the next one says it all.
                let _ = self.around.points.try_send(point);
            }
            Report::Verified { ok, .. } => seen.verified = Some((at_ms, *ok)),
            Report::Pruned { failed, .. } => seen.prune_failed = *failed > 0,
            Report::Objects(count) => self.metrics.backup_objects(*count as u64),
            _ => {}
        }
    }

    fn fenced(&self, seen: &mut Seen, why: String) {
        seen.state = "fenced";
        seen.error = Some(why);
        self.metrics.claim(u64::from(seen.epoch), true);
        let name = &self.database.name;
        self.around
            .health
            .hold_ready(&format!("fenced:{name}"), format!("another writer owns the replica of {name}"));
    }

    /// The writer ended with an error.
    pub(super) fn failed(&self, error: &Error, retry_in: Option<Duration>) {
        let mut seen = self.seen();
        let now = self.around.clock.monotonic_ns();
        seen.last_event_ns = now;
        seen.state = "failed";
        seen.error = Some(error.to_string());
        seen.lag.failed(now);
        if error.class() == Class::Fenced {
            self.fenced(&mut seen, error.to_string());
        }
        self.sync_error(error.reason());
        let db = self.database.path.display();
        match retry_in {
            Some(pause) => {
                tracing::warn!(%db, %error, retry_in_ms = pause.as_millis() as u64, "failed, it will be started again");
            }
            None => tracing::error!(%db, %error, "stopped"),
        }
    }

    /// Lag grows without events, and a stall is the absence of events. `life`: when a request to a store last ended.
    pub(super) fn refresh(&self, life: u64) {
        let now = self.around.clock.monotonic_ns();
        let mut seen = self.seen();
        if seen.lag.is_behind() {
            self.show_lag(&seen, now);
        }
        // Retention runs when something is due; where nothing is, and the last run was whole, it is up to date.
        if seen.state == "streaming" && !seen.prune_failed {
            self.metrics.retention_done(self.around.clock.unix_ms(), 0);
        }
        let silent = Duration::from_nanos(now.saturating_sub(seen.last_event_ns.max(life)));
        // Without a writer nothing is stuck: it is started again, or a restart would not help.
        let followed = !matches!(seen.state, "failed" | "fenced");
        let stalled = followed && seen.lag.is_behind() && silent > self.around.stall_after;
        if stalled == seen.stalled {
            return;
        }
        seen.stalled = stalled;
        self.metrics.stalled(stalled);
        let (name, cause) = (&self.database.name, format!("stalled:{}", self.database.name));
        match stalled {
            true => {
                tracing::error!(db = %self.database.path.display(), silent_s = silent.as_secs(), "stalled: commits wait and nothing is tried for them");
                let reason = format!(
                    "{name} is stalled: commits wait, and nothing was tried for {} s",
                    silent.as_secs()
                );
                self.around.health.hold_live(&cause, reason);
            }
            false => self.around.health.release_live(&cause),
        }
    }

    fn show_lag(&self, seen: &Seen, now: u64) {
        self.metrics.lag(seen.lag.seconds(now), seen.lag.bytes(), seen.lag.transactions());
    }

    /// For the status document.
    pub(super) fn status(&self, restored: Option<&Handover>) -> Value {
        let seen = self.seen();
        let restored = restored.and_then(|handover| handover.database(&self.database.name));
        serde_json::json!({
            "name": self.database.name,
            "database": self.database.path,
            "replica": self.database.replica,
            "state": if seen.stalled { "stalled" } else { seen.state },
            "error": seen.error,
            "epoch": seen.epoch,
            "txid": format!("{:016x}", seen.txid),
            "lag_seconds": seen.lag.seconds(self.around.clock.monotonic_ns()),
            "lag_bytes": seen.lag.bytes(),
            "lag_transactions": seen.lag.transactions(),
            "last_durable": when(seen.last_durable_ms),
            "last_snapshot": when(seen.snapshot_ms),
            "last_point": when(seen.point_ms),
            "last_proven": when(seen.proven_ms),
            "verified": seen.verified.map(|(at, ok)| serde_json::json!({ "at": when(at), "ok": ok })),
            "restored": restored.map(|database| database.outcome),
        })
    }
}

/// A time, if it ever was.
fn when(ms: i64) -> Option<String> {
    (ms > 0).then(|| clock::format_unix_ms(ms))
}

#[cfg(test)]
mod tests;
