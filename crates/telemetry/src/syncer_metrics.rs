//! The metrics of config-syncer: [`names::SYNCER`], and what it shares with the other sidecar.
//!
//! [`TreeMetrics`] is one tree; label `root` is its path relative to the volume (where a shared name has label `db`, the same value
//! stands there). Counters start at 0; gauges appear with their first value, so nothing compares a zero that nobody measured.
//! The one number: `highwater_files_last_sync_timestamp_seconds`, when the newest snapshot last was what the tree was.

use crate::{Error, Registry, names};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec};
use std::sync::Arc;

/// Every handle of config-syncer.
#[derive(Debug, Clone)]
pub struct SyncerMetrics {
    syncs: IntCounterVec,
    errors: IntCounterVec,
    uploaded: IntCounterVec,
    deleted: IntCounterVec,
    overflows: IntCounterVec,
    last_sync: GaugeVec,
    pending: GaugeVec,
    oldest_pending: GaugeVec,
    tracked: GaugeVec,
    unstable: GaugeVec,
    watch_mode: GaugeVec,
    duration: HistogramVec,
    fenced: GaugeVec,
    epoch: GaugeVec,
    verify_result: GaugeVec,
    verify_timestamp: GaugeVec,
    retention_errors: IntCounterVec,
    retention_deleted: IntCounterVec,
    retention_last: GaugeVec,
}

impl SyncerMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            syncs: registry.counter(&names::FILES_SYNCS_TOTAL)?,
            errors: registry.counter(&names::FILES_ERRORS_TOTAL)?,
            uploaded: registry.counter(&names::FILES_UPLOADED_TOTAL)?,
            deleted: registry.counter(&names::FILES_DELETED_TOTAL)?,
            overflows: registry.counter(&names::FILES_WATCH_OVERFLOWS_TOTAL)?,
            last_sync: registry.gauge(&names::FILES_LAST_SYNC_TIMESTAMP_SECONDS)?,
            pending: registry.gauge(&names::FILES_PENDING)?,
            oldest_pending: registry.gauge(&names::FILES_OLDEST_PENDING_SECONDS)?,
            tracked: registry.gauge(&names::FILES_TRACKED)?,
            unstable: registry.gauge(&names::FILES_UNSTABLE)?,
            watch_mode: registry.gauge(&names::FILES_WATCH_MODE)?,
            duration: registry.histogram(&names::FILES_SYNC_DURATION_SECONDS)?,
            fenced: registry.gauge(&names::WRITER_FENCED)?,
            epoch: registry.gauge(&names::WRITER_EPOCH)?,
            verify_result: registry.gauge(&names::VERIFY_LAST_RESULT)?,
            verify_timestamp: registry.gauge(&names::VERIFY_LAST_TIMESTAMP_SECONDS)?,
            retention_errors: registry.counter(&names::RETENTION_ERRORS_TOTAL)?,
            retention_deleted: registry.counter(&names::RETENTION_DELETED_OBJECTS_TOTAL)?,
            retention_last: registry.gauge(&names::RETENTION_LAST_SUCCESS_TIMESTAMP_SECONDS)?,
        })
    }

    /// The handles of one tree; its counters are exported from here on.
    pub fn tree(self: &Arc<Self>, root: &str) -> TreeMetrics {
        for counter in
            [&self.uploaded, &self.deleted, &self.overflows, &self.retention_errors, &self.retention_deleted]
        {
            counter.with_label_values(&[root]);
        }
        for result in ["committed", "unchanged", "failed"] {
            self.syncs.with_label_values(&[root, result]);
        }
        TreeMetrics { all: Arc::clone(self), root: root.to_owned() }
    }
}

/// The metrics of one tree; what each call means is the help text of its row in [`names`].
#[derive(Debug, Clone)]
pub struct TreeMetrics {
    all: Arc<SyncerMetrics>,
    root: String,
}

/// The value of label `component` in claims of config-syncer.
const COMPONENT: &str = "config-syncer";

impl TreeMetrics {
    /// A look ended: `committed`, `unchanged` or `failed`.
    pub fn look(&self, result: &'static str) {
        self.all.syncs.with_label_values(&[self.root.as_str(), result]).inc();
    }

    /// A look failed for one of a fixed set of reasons.
    pub fn error(&self, reason: &'static str) {
        self.all.errors.with_label_values(&[self.root.as_str(), reason]).inc();
    }

    /// The newest snapshot is what the tree is, at this Unix time.
    pub fn synced(&self, unix_ms: i64) {
        self.set(&self.all.last_sync, unix_ms as f64 / 1_000.0);
    }

    /// A snapshot was committed.
    pub fn committed(&self, uploaded: u64, deleted: u64, seconds: f64) {
        self.all.uploaded.with_label_values(&[&self.root]).inc_by(uploaded);
        self.all.deleted.with_label_values(&[&self.root]).inc_by(deleted);
        self.all.duration.with_label_values(&[&self.root]).observe(seconds);
    }

    /// Entries of the tree, and files that kept an earlier version.
    pub fn tracked(&self, entries: u64, unstable: u64) {
        self.set(&self.all.tracked, entries as f64);
        self.set(&self.all.unstable, unstable as f64);
    }

    /// Files that one look could not read: the look went on without them.
    pub fn unreadable(&self, files: u64) {
        if files > 0 {
            self.all.errors.with_label_values(&[self.root.as_str(), "unreadable"]).inc_by(files);
        }
    }

    /// For how long changes have been waiting; `None` if none are.
    pub fn pending(&self, seconds: Option<f64>) {
        self.set(&self.all.pending, flag(seconds.is_some()));
        self.set(&self.all.oldest_pending, seconds.unwrap_or(0.0));
    }

    /// Whether events work; otherwise the tree is polled.
    pub fn watch_mode(&self, inotify: bool) {
        for (mode, on) in [("inotify", inotify), ("poll", !inotify)] {
            self.all.watch_mode.with_label_values(&[self.root.as_str(), mode]).set(flag(on));
        }
    }

    /// The kernel dropped events.
    pub fn overflow(&self) {
        self.all.overflows.with_label_values(&[&self.root]).inc();
    }

    /// Our claim, and whether another writer has taken over (P4).
    pub fn claim(&self, epoch: u64, fenced: bool) {
        self.all.epoch.with_label_values(&[COMPONENT, &self.root]).set(epoch as f64);
        self.all.fenced.with_label_values(&[COMPONENT, &self.root]).set(flag(fenced));
    }

    /// A verification ended.
    pub fn verified(&self, unix_ms: i64, proven: bool) {
        self.set(&self.all.verify_result, flag(proven));
        self.set(&self.all.verify_timestamp, unix_ms as f64 / 1_000.0);
    }

    /// A retention run ended.
    pub fn pruned(&self, unix_ms: i64, deleted: u64) {
        self.all.retention_deleted.with_label_values(&[&self.root]).inc_by(deleted);
        self.set(&self.all.retention_last, unix_ms as f64 / 1_000.0);
    }

    /// A retention run failed.
    pub fn prune_failed(&self) {
        self.all.retention_errors.with_label_values(&[&self.root]).inc();
    }

    fn set(&self, gauge: &GaugeVec, value: f64) {
        gauge.with_label_values(&[&self.root]).set(value);
    }
}

fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuildInfo;

    #[test]
    fn the_table_is_what_is_exported() {
        let registry = Registry::new(&BuildInfo::of("test"), Arc::new(clock::ManualClock::at(0))).unwrap();
        let tree = Arc::new(SyncerMetrics::new(&registry).unwrap()).tree("config");
        tree.look("committed");
        tree.error("connect");
        tree.synced(1_000);
        tree.committed(3, 1, 0.5);
        tree.tracked(300, 1);
        tree.unreadable(0);
        tree.unreadable(2);
        tree.pending(Some(2.0));
        tree.watch_mode(true);
        tree.overflow();
        tree.claim(7, false);
        tree.verified(1_000, true);
        tree.pruned(1_000, 4);
        tree.prune_failed();
        let text = registry.gather_text();
        for row in names::SYNCER {
            assert!(text.contains(&format!("# TYPE {} ", row.name)), "{} is missing", row.name);
            assert_eq!(row.labels[0], "root", "{}", row.name);
        }
        for line in [
            r#"highwater_files_syncs_total{result="committed",root="config"} 1"#,
            r#"highwater_files_watch_mode{mode="poll",root="config"} 0"#,
            r#"highwater_files_errors_total{reason="unreadable",root="config"} 2"#,
            r#"highwater_writer_epoch{component="config-syncer",db="config"} 7"#,
            r#"highwater_files_oldest_pending_seconds{root="config"} 2"#,
            r#"highwater_verify_last_result{db="config"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
