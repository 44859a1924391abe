//! The metrics of wal-streamer: one handle per row of [`names::COMMON`] and [`names::STREAMER`].
//!
//! [`DbMetrics`] is the same bound to one database. Counters start at 0, so that `increase()` sees the first step and a
//! database that never synced is seen at all. Gauges appear with their first value, so a database that was never verified
//! has no `highwater_verify_last_result`, and no alert compares a zero that nobody measured.
//! [`StreamerMetrics::forget`] takes away all series of a database that is no longer protected (P7: the number of
//! series follows the number of databases).

use crate::series::{Label, Series};
use crate::{Error, Registry, names};
use std::sync::Arc;

macro_rules! handles {
    ($($field:ident = $row:ident;)*) => {
        /// Every metric of wal-streamer.
        #[derive(Debug, Clone)]
        pub struct StreamerMetrics {
            $($field: Series,)*
        }

        impl StreamerMetrics {
            /// Registers [`names::COMMON`] and [`names::STREAMER`].
            pub fn new(registry: &Registry) -> Result<Self, Error> {
                Ok(Self { $($field: registry.series(&names::$row)?,)* })
            }

            /// Takes away every series whose label `db` is this one.
            pub fn forget(&self, db: &str) {
                $(self.$field.forget("db", db);)*
            }
        }
    };
}

handles! {
    volume_size_bytes = VOLUME_SIZE_BYTES;
    volume_available_bytes = VOLUME_AVAILABLE_BYTES;
    volume_fsync_duration_seconds = VOLUME_FSYNC_DURATION_SECONDS;
    disk_full = DISK_FULL;
    store_clock_skew_seconds = STORE_CLOCK_SKEW_SECONDS;
    store_single_writer = STORE_SINGLE_WRITER;
    writer_fenced = WRITER_FENCED;
    writer_epoch = WRITER_EPOCH;
    syncs = WAL_SYNCS_TOTAL;
    sync_attempts = WAL_SYNC_ATTEMPTS_TOTAL;
    sync_errors = WAL_SYNC_ERRORS_TOTAL;
    last_sync_timestamp_seconds = WAL_LAST_SYNC_TIMESTAMP_SECONDS;
    lag_seconds = WAL_LAG_SECONDS;
    lag_bytes = WAL_LAG_BYTES;
    lag_transactions = WAL_LAG_TRANSACTIONS;
    stalled = WAL_STALLED;
    sync_duration_seconds = WAL_SYNC_DURATION_SECONDS;
    segments_uploaded = WAL_SEGMENTS_UPLOADED_TOTAL;
    uploaded_bytes = WAL_UPLOADED_BYTES_TOTAL;
    checkpoints = WAL_CHECKPOINTS_TOTAL;
    write_lock_seconds = WRITE_LOCK_SECONDS;
    db_file_bytes = DB_FILE_BYTES;
    wal_file_bytes = WAL_FILE_BYTES;
    db_position = DB_POSITION;
    replica_position = REPLICA_POSITION;
    snapshots = SNAPSHOTS_TOTAL;
    snapshot_last_success_timestamp_seconds = SNAPSHOT_LAST_SUCCESS_TIMESTAMP_SECONDS;
    snapshot_interval_seconds = SNAPSHOT_INTERVAL_SECONDS;
    snapshot_last_bytes = SNAPSHOT_LAST_BYTES;
    snapshot_last_duration_seconds = SNAPSHOT_LAST_DURATION_SECONDS;
    retention_errors = RETENTION_ERRORS_TOTAL;
    retention_deleted_objects = RETENTION_DELETED_OBJECTS_TOTAL;
    retention_last_success_timestamp_seconds = RETENTION_LAST_SUCCESS_TIMESTAMP_SECONDS;
    retention_interval_seconds = RETENTION_INTERVAL_SECONDS;
    verify_last_result = VERIFY_LAST_RESULT;
    verify_last_timestamp_seconds = VERIFY_LAST_TIMESTAMP_SECONDS;
    restore_info = RESTORE_INFO;
    restore_timestamp_seconds = RESTORE_TIMESTAMP_SECONDS;
    restore_duration_seconds = RESTORE_DURATION_SECONDS;
    restore_bytes = RESTORE_BYTES;
    backup_objects = BACKUP_OBJECTS;
}

impl StreamerMetrics {
    /// The handles of one database; its counters are exported from here on.
    pub fn db(self: &Arc<Self>, db: &str) -> DbMetrics {
        let db = Label::Shared(db.into());
        for counter in [
            &self.syncs,
            &self.sync_attempts,
            &self.segments_uploaded,
            &self.uploaded_bytes,
            &self.retention_errors,
            &self.retention_deleted_objects,
        ] {
            counter.add(std::slice::from_ref(&db), 0);
        }
        for result in ["success", "failure"] {
            self.snapshots.add(&[db.clone(), Label::Word(result)], 0);
        }
        DbMetrics { all: Arc::clone(self), db }
    }

    /// Size and free bytes of the data volume.
    pub fn volume(&self, size_bytes: u64, available_bytes: u64) {
        self.volume_size_bytes.set(NONE, size_bytes as f64);
        self.volume_available_bytes.set(NONE, available_bytes as f64);
    }

    /// One probe of the data volume's fdatasync.
    pub fn volume_fsync(&self, seconds: f64) {
        self.volume_fsync_duration_seconds.observe(NONE, seconds);
    }

    /// The store's clock minus ours, in ms.
    pub fn clock_skew(&self, ms: i64) {
        self.store_clock_skew_seconds.set(NONE, ms as f64 / 1_000.0);
    }

    /// Whether the store cannot refuse a second create.
    pub fn single_writer(&self, weak: bool) {
        self.store_single_writer.set(NONE, flag(weak));
    }

    /// Whether writes fail for lack of space.
    pub fn volume_full(&self, full: bool) {
        self.disk_full.set(NONE, flag(full));
    }
}

/// The metrics of one database; cheap to clone. What each call means is the help text of its row in [`names`].
#[derive(Debug, Clone)]
pub struct DbMetrics {
    all: Arc<StreamerMetrics>,
    db: Label,
}

/// The value of label `component` in claims of wal-streamer.
const COMPONENT: Label = Label::Word("wal-streamer");
const NONE: &[Label] = &[];

impl DbMetrics {
    /// A pass begins.
    pub fn sync_attempt(&self) {
        self.all.sync_attempts.add(self.db(), 1);
    }

    /// A pass ended with everything in the store at this Unix time; an idle one has no duration worth counting.
    pub fn synced(&self, unix_ms: i64, upload_seconds: Option<f64>) {
        self.all.syncs.add(self.db(), 1);
        self.set(&self.all.last_sync_timestamp_seconds, unix_ms as f64 / 1_000.0);
        if let Some(seconds) = upload_seconds {
            self.all.sync_duration_seconds.observe(self.db(), seconds);
        }
    }

    /// A pass failed for one of a fixed set of reasons.
    pub fn sync_error(&self, reason: &'static str) {
        self.all.sync_errors.add(&[self.db.clone(), Label::Word(reason)], 1);
    }

    /// What is not in the store yet.
    pub fn lag(&self, seconds: f64, bytes: u64, transactions: u64) {
        self.set(&self.all.lag_seconds, seconds);
        self.set(&self.all.lag_bytes, bytes as f64);
        self.set(&self.all.lag_transactions, transactions as f64);
    }

    /// Whether commits wait and nothing is tried for them.
    pub fn stalled(&self, stalled: bool) {
        self.set(&self.all.stalled, flag(stalled));
    }

    /// A transaction file was uploaded.
    pub fn uploaded(&self, bytes: u64) {
        self.all.segments_uploaded.add(self.db(), 1);
        self.all.uploaded_bytes.add(self.db(), bytes);
    }

    /// A checkpoint ran.
    pub fn checkpoint(&self, mode: &'static str, result: &'static str) {
        self.all.checkpoints.add(&[self.db.clone(), Label::Word(mode), Label::Word(result)], 1);
    }

    /// We held the application's write lock.
    pub fn write_lock_held(&self, seconds: f64) {
        self.all.write_lock_seconds.observe(self.db(), seconds);
    }

    /// Sizes of the two files.
    pub fn files(&self, db_bytes: u64, wal_bytes: u64) {
        self.set(&self.all.db_file_bytes, db_bytes as f64);
        self.set(&self.all.wal_file_bytes, wal_bytes as f64);
    }

    /// Newest transaction here and in the store.
    pub fn positions(&self, db: u64, replica: u64) {
        self.set(&self.all.db_position, db as f64);
        self.set(&self.all.replica_position, replica as f64);
    }

    /// How often restore points and retention are due, so that one alert serves all profiles.
    pub fn intervals(&self, snapshot_seconds: f64, retention_seconds: f64) {
        self.set(&self.all.snapshot_interval_seconds, snapshot_seconds);
        self.set(&self.all.retention_interval_seconds, retention_seconds);
    }

    /// A restore point was proven.
    pub fn snapshot_done(&self, unix_ms: i64, bytes: u64, seconds: f64) {
        self.all.snapshots.add(&[self.db.clone(), Label::Word("success")], 1);
        self.set(&self.all.snapshot_last_success_timestamp_seconds, unix_ms as f64 / 1_000.0);
        self.set(&self.all.snapshot_last_bytes, bytes as f64);
        self.set(&self.all.snapshot_last_duration_seconds, seconds);
    }

    /// A restore point that was due exists, without a new image.
    pub fn restore_point(&self, unix_ms: i64) {
        self.all.snapshots.add(&[self.db.clone(), Label::Word("success")], 1);
        self.set(&self.all.snapshot_last_success_timestamp_seconds, unix_ms as f64 / 1_000.0);
    }

    /// A restore point failed.
    pub fn snapshot_failed(&self) {
        self.all.snapshots.add(&[self.db.clone(), Label::Word("failure")], 1);
    }

    /// A retention run ended.
    pub fn retention_done(&self, unix_ms: i64, deleted: u64) {
        self.all.retention_deleted_objects.add(self.db(), deleted);
        self.set(&self.all.retention_last_success_timestamp_seconds, unix_ms as f64 / 1_000.0);
    }

    /// A retention run failed.
    pub fn retention_failed(&self) {
        self.all.retention_errors.add(self.db(), 1);
    }

    /// A verification ended.
    pub fn verified(&self, unix_ms: i64, proven: bool) {
        self.set(&self.all.verify_last_result, flag(proven));
        self.set(&self.all.verify_last_timestamp_seconds, unix_ms as f64 / 1_000.0);
    }

    /// What the restore at start did: `kept`, `restored`, `fresh` or `forced`.
    pub fn restore(&self, outcome: &str, unix_ms: i64, seconds: f64, bytes: u64) {
        self.all.restore_info.set(&[self.db.clone(), Label::Shared(outcome.into())], 1.0);
        self.set(&self.all.restore_timestamp_seconds, unix_ms as f64 / 1_000.0);
        self.set(&self.all.restore_duration_seconds, seconds);
        self.set(&self.all.restore_bytes, bytes as f64);
    }

    /// Objects of the replica in the store.
    pub fn backup_objects(&self, count: u64) {
        self.set(&self.all.backup_objects, count as f64);
    }

    /// Our claim: its epoch, and whether another writer has taken over (P4).
    pub fn claim(&self, epoch: u64, fenced: bool) {
        self.all.writer_epoch.set(&[COMPONENT, self.db.clone()], epoch as f64);
        self.all.writer_fenced.set(&[COMPONENT, self.db.clone()], flag(fenced));
    }

    /// Takes away all series of this database.
    pub fn forget(&self) {
        self.all.forget(self.db.text());
    }

    fn db(&self) -> &[Label] {
        std::slice::from_ref(&self.db)
    }

    fn set(&self, gauge: &Series, value: f64) {
        gauge.set(self.db(), value);
    }
}

fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
