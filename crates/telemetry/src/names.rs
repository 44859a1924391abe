//! Every metric that the binaries export: name, type, labels, help. They are an API.
//!
//! A test compares this table with what the registry exports, so a metric cannot be added, renamed or relabelled
//! anywhere else. Alerts and dashboards rely on it. Labels `namespace`, `pod`, `container`, `job` and `instance` belong
//! to the scrape target and are never used here. Label `db` is the path relative to the volume root.
//!
//! Units are in the names: `_seconds`, `_bytes`, `_timestamp_seconds` (Unix time). What was never
//! measured is absent, not zero.

/// The type of a metric, as `# TYPE` says it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Cumulative buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The full name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// One line for `# HELP`.
    pub help: &'static str,
}

/// Upper bounds for requests to a store, in seconds: a local network to a big part over a slow line.
const REQUEST: Kind =
    Kind::Histogram(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);
/// Upper bounds for `fsync` of 4 KiB; the alert's line is 500 ms.
const FSYNC: Kind = Kind::Histogram(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
/// Upper bounds for one sync pass, from a handful of pages to a full image.
const SYNC: Kind = Kind::Histogram(&[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0]);
/// Upper bounds for the application's write lock held by us; the budget is 20 ms.
const LOCK: Kind = Kind::Histogram(&[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25]);

use Kind::{Counter, Gauge};

/// Declares each row once as a constant and puts it into its table.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident { $($row:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)* }) => {
        $(#[doc = $help] pub const $row: Metric =
            Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*
        $(#[$doc])*
        pub static $table: &[Metric] = &[$($row),*];
    };
}

table! {
    /// Exported by every process, by the registry itself.
    PROCESS {
        BUILD_INFO = Gauge, "highwater_build_info", ["version", "revision", "component"], "Always 1; the labels say what runs.";
        PROCESS_RESIDENT_MEMORY_BYTES = Gauge, "process_resident_memory_bytes", [], "Resident memory in bytes.";
        PROCESS_CPU_SECONDS_TOTAL = Counter, "process_cpu_seconds_total", [], "User and system time in seconds.";
        PROCESS_OPEN_FDS = Gauge, "process_open_fds", [], "Open file descriptors.";
        PROCESS_START_TIME_SECONDS = Gauge, "process_start_time_seconds", [], "Start of the process, Unix time.";
    }
}

table! {
    /// Requests to the object store.
    STORE {
        S3_REQUESTS_TOTAL = Counter, "highwater_s3_requests_total", ["operation"], "Requests sent to the store, failed ones included.";
        S3_REQUEST_ERRORS_TOTAL = Counter, "highwater_s3_request_errors_total", ["operation", "reason"], "Requests that failed, by reason.";
        S3_REQUEST_DURATION_SECONDS = REQUEST, "highwater_s3_request_duration_seconds", ["operation"], "Time of a request, its body included.";
        S3_TRANSFERRED_BYTES_TOTAL = Counter, "highwater_s3_transferred_bytes_total", ["direction"], "Bytes of bodies, in or out.";
    }
}

table! {
    /// The volume a sidecar stands on, and who may write to the replica.
    COMMON {
        VOLUME_SIZE_BYTES = Gauge, "highwater_volume_size_bytes", [], "Size of the data volume.";
        VOLUME_AVAILABLE_BYTES = Gauge, "highwater_volume_available_bytes", [], "Bytes of the data volume that are free for us.";
        VOLUME_FSYNC_DURATION_SECONDS = FSYNC, "highwater_volume_fsync_duration_seconds", [], "Time of a 4 KiB write with fdatasync on the data volume.";
        DISK_FULL = Gauge, "highwater_disk_full", [], "1 while writes to the data volume fail for lack of space.";
        STORE_CLOCK_SKEW_SECONDS = Gauge, "highwater_store_clock_skew_seconds", [], "The store's clock minus ours, as of its last answer.";
        STORE_SINGLE_WRITER = Gauge, "highwater_store_single_writer", [], "1 when the store cannot refuse a second create, so that a second writer is noticed late.";
        WRITER_FENCED = Gauge, "highwater_writer_fenced", ["component", "db"], "1 when another writer has claimed the replica.";
        WRITER_EPOCH = Gauge, "highwater_writer_epoch", ["component", "db"], "Epoch of our claim.";
    }
}

table! {
    /// What wal-streamer measures, per database.
    STREAMER {
        WAL_SYNCS_TOTAL = Counter, "highwater_wal_syncs_total", ["db"], "Passes that ended with everything in the store, idle ones included.";
        WAL_SYNC_ATTEMPTS_TOTAL = Counter, "highwater_wal_sync_attempts_total", ["db"], "Passes begun.";
        WAL_SYNC_ERRORS_TOTAL = Counter, "highwater_wal_sync_errors_total", ["db", "reason"], "Passes that failed, by reason.";
        WAL_LAST_SYNC_TIMESTAMP_SECONDS = Gauge, "highwater_wal_last_sync_timestamp_seconds", ["db"], "When everything was last in the store.";
        WAL_LAG_SECONDS = Gauge, "highwater_wal_lag_seconds", ["db"], "Age of the oldest commit that is not in the store, 0 when caught up.";
        WAL_LAG_BYTES = Gauge, "highwater_wal_lag_bytes", ["db"], "Bytes of the WAL that are not in the store.";
        WAL_LAG_TRANSACTIONS = Gauge, "highwater_wal_lag_transactions", ["db"], "Commits that are not in the store.";
        WAL_STALLED = Gauge, "highwater_wal_stalled", ["db"], "1 while commits wait and nothing is tried for them; a restart is due.";
        WAL_SYNC_DURATION_SECONDS = SYNC, "highwater_wal_sync_duration_seconds", ["db"], "Time of a pass that uploaded something.";
        WAL_SEGMENTS_UPLOADED_TOTAL = Counter, "highwater_wal_segments_uploaded_total", ["db"], "Transaction files uploaded.";
        WAL_UPLOADED_BYTES_TOTAL = Counter, "highwater_wal_uploaded_bytes_total", ["db"], "Bytes of transaction files uploaded.";
        WAL_CHECKPOINTS_TOTAL = Counter, "highwater_wal_checkpoints_total", ["db", "mode", "result"], "Checkpoints run, by mode and result.";
        WRITE_LOCK_SECONDS = LOCK, "highwater_db_write_lock_seconds", ["db"], "How long we held the application's write lock.";
        DB_FILE_BYTES = Gauge, "highwater_db_file_bytes", ["db"], "Size of the database file.";
        WAL_FILE_BYTES = Gauge, "highwater_wal_file_bytes", ["db"], "Size of the WAL file.";
        DB_POSITION = Gauge, "highwater_db_position", ["db"], "Newest transaction of the database.";
        REPLICA_POSITION = Gauge, "highwater_replica_position", ["db"], "Newest transaction in the store.";
        SNAPSHOTS_TOTAL = Counter, "highwater_snapshots_total", ["db", "result"], "Restore points written, by result.";
        SNAPSHOT_LAST_SUCCESS_TIMESTAMP_SECONDS = Gauge, "highwater_snapshot_last_success_timestamp_seconds", ["db"], "Time of the newest proven restore point.";
        SNAPSHOT_INTERVAL_SECONDS = Gauge, "highwater_snapshot_interval_seconds", ["db"], "How often a restore point is due.";
        SNAPSHOT_LAST_BYTES = Gauge, "highwater_snapshot_last_bytes", ["db"], "Stored size of the newest restore point.";
        SNAPSHOT_LAST_DURATION_SECONDS = Gauge, "highwater_snapshot_last_duration_seconds", ["db"], "Time the newest restore point took.";
        RETENTION_ERRORS_TOTAL = Counter, "highwater_retention_errors_total", ["db"], "Retention runs that failed.";
        RETENTION_DELETED_OBJECTS_TOTAL = Counter, "highwater_retention_deleted_objects_total", ["db"], "Objects deleted by retention.";
        RETENTION_LAST_SUCCESS_TIMESTAMP_SECONDS = Gauge, "highwater_retention_last_success_timestamp_seconds", ["db"], "Time of the last complete retention run.";
        RETENTION_INTERVAL_SECONDS = Gauge, "highwater_retention_interval_seconds", ["db"], "How often retention is due.";
        VERIFY_LAST_RESULT = Gauge, "highwater_verify_last_result", ["db"], "1 when the last verification proved the replica, else 0.";
        VERIFY_LAST_TIMESTAMP_SECONDS = Gauge, "highwater_verify_last_timestamp_seconds", ["db"], "Time of the last verification.";
        RESTORE_INFO = Gauge, "highwater_restore_info", ["db", "outcome"], "Always 1; what the restore at start did: kept, restored, fresh or forced.";
        RESTORE_TIMESTAMP_SECONDS = Gauge, "highwater_restore_timestamp_seconds", ["db"], "Time of the restore at start.";
        RESTORE_DURATION_SECONDS = Gauge, "highwater_restore_duration_seconds", ["db"], "Time the restore at start took.";
        RESTORE_BYTES = Gauge, "highwater_restore_bytes", ["db"], "Bytes restored at start.";
        BACKUP_OBJECTS = Gauge, "highwater_backup_objects", ["db"], "Objects of the replica in the store.";
    }
}

table! {
    /// What config-syncer measures, per tree.
    SYNCER {
        FILES_SYNCS_TOTAL = Counter, "highwater_files_syncs_total", ["root", "result"], "Looks at the tree: committed, unchanged or failed.";
        FILES_ERRORS_TOTAL = Counter, "highwater_files_errors_total", ["root", "reason"], "Looks that failed, by reason; with reason unreadable, files that a look could not read.";
        FILES_UPLOADED_TOTAL = Counter, "highwater_files_uploaded_total", ["root"], "Files whose content was sent.";
        FILES_DELETED_TOTAL = Counter, "highwater_files_deleted_total", ["root"], "Entries that snapshots no longer hold.";
        FILES_LAST_SYNC_TIMESTAMP_SECONDS = Gauge, "highwater_files_last_sync_timestamp_seconds", ["root"], "When the newest snapshot last was what the tree was.";
        FILES_PENDING = Gauge, "highwater_files_pending", ["root"], "1 while changes wait to be stored.";
        FILES_OLDEST_PENDING_SECONDS = Gauge, "highwater_files_oldest_pending_seconds", ["root"], "For how long changes have been waiting, 0 when none are.";
        FILES_TRACKED = Gauge, "highwater_files_tracked", ["root"], "Entries of the tree.";
        FILES_UNSTABLE = Gauge, "highwater_files_unstable", ["root"], "Files that kept an earlier version: they change while they are read, or cannot be read.";
        FILES_WATCH_OVERFLOWS_TOTAL = Counter, "highwater_files_watch_overflows_total", ["root"], "Times the kernel dropped events; each led to a full look.";
        FILES_WATCH_MODE = Gauge, "highwater_files_watch_mode", ["root", "mode"], "1 for the way changes are noticed: inotify or poll.";
        FILES_SYNC_DURATION_SECONDS = SYNC, "highwater_files_sync_duration_seconds", ["root"], "Time of a look that committed a snapshot.";
    }
}

/// What `--litestream-metrics` exports beside: name, type, and what it is made from. Labels are `db` (relative, as everywhere
/// here) and, for `litestream_replica_*`, `replica_type` and `operation`.
pub static LITESTREAM: &[(&str, Kind, Metric)] = &[
    ("litestream_sync_count", Counter, WAL_SYNCS_TOTAL),
    ("litestream_sync_error_count", Counter, WAL_SYNC_ERRORS_TOTAL),
    ("litestream_db_size", Gauge, DB_FILE_BYTES),
    ("litestream_wal_size", Gauge, WAL_FILE_BYTES),
    ("litestream_total_wal_bytes", Counter, WAL_UPLOADED_BYTES_TOTAL),
    ("litestream_txid", Gauge, REPLICA_POSITION),
    ("litestream_disk_full", Gauge, DISK_FULL),
    ("litestream_replica_operation_total", Counter, S3_REQUESTS_TOTAL),
    ("litestream_replica_operation_bytes", Counter, S3_TRANSFERRED_BYTES_TOTAL),
];

table! {
    /// What `etcd-shipper` knows about snapshots: from the objects in the store, so that a job needs no scrape.
    ETCD {
        ETCD_LAST_SUCCESS_TIMESTAMP_SECONDS = Gauge, "highwater_etcd_snapshot_last_success_timestamp_seconds", ["cluster", "destination"], "When the newest proven snapshot was taken.";
        ETCD_SIZE_BYTES = Gauge, "highwater_etcd_snapshot_size_bytes", ["cluster", "destination", "kind"], "Size of the newest proven snapshot: body or stored.";
        ETCD_COUNT = Gauge, "highwater_etcd_snapshot_count", ["cluster", "destination"], "Proven snapshots.";
        ETCD_LAST_ATTEMPT_TIMESTAMP_SECONDS = Gauge, "highwater_etcd_snapshot_last_attempt_timestamp_seconds", ["cluster", "destination"], "When a run last ended, whatever came of it.";
        ETCD_LAST_EXIT_CODE = Gauge, "highwater_etcd_snapshot_last_exit_code", ["cluster", "destination"], "Exit code of the last run.";
        ETCD_REVISION = Gauge, "highwater_etcd_snapshot_revision", ["cluster", "destination"], "Revision of the newest proven snapshot.";
        ETCD_KEYS = Gauge, "highwater_etcd_snapshot_keys", ["cluster", "destination"], "Keys in the newest proven snapshot.";
        ETCD_VERIFY_LEVEL = Gauge, "highwater_etcd_verify_level", ["cluster", "destination"], "Level of proof of the newest proven snapshot, 1 to 5.";
        ETCD_HASHKV_MATCH = Gauge, "highwater_etcd_hashkv_match", ["cluster", "destination"], "The last snapshot against live members: 1 equal, 0 different, -1 unknown.";
        ETCD_STREAM_SECONDS = Gauge, "highwater_etcd_stream_seconds", ["cluster", "destination"], "How long the last run held the member's read transaction.";
        ETCD_UPLOAD_SECONDS = Gauge, "highwater_etcd_upload_seconds", ["cluster", "destination"], "How long the last upload and its reading back took.";
        ETCD_OBJECTS = Gauge, "highwater_etcd_objects", ["cluster", "destination", "state"], "Snapshots by what retention says of them.";
        ETCD_RETENTION_BACKLOG = Gauge, "highwater_etcd_retention_backlog", ["cluster", "destination"], "Snapshots that are due and were not deleted.";
        ETCD_OLDEST_KEPT_TIMESTAMP_SECONDS = Gauge, "highwater_etcd_oldest_kept_timestamp_seconds", ["cluster", "destination"], "When the oldest proven snapshot was taken.";
        ETCD_INTERVAL_SECONDS = Gauge, "highwater_etcd_snapshot_interval_seconds", ["cluster", "destination"], "How often a snapshot is due.";
        ETCD_DB_SIZE_BYTES = Gauge, "highwater_etcd_db_size_bytes", ["cluster", "destination"], "Size of the member's database file.";
        ETCD_DB_IN_USE_BYTES = Gauge, "highwater_etcd_db_in_use_bytes", ["cluster", "destination"], "Bytes of it that are in use.";
        ETCD_CLOCK_OFFSET_SECONDS = Gauge, "highwater_etcd_clock_offset_seconds", ["cluster", "destination"], "The store's clock minus the job's.";
    }
}

table! {
    /// What the exporter knows about the replicas of all rooms, from their status objects.
    EXPORTER {
        BACKUP_LAST_OBJECT_TIMESTAMP_SECONDS = Gauge, "highwater_backup_last_object_timestamp_seconds", ["app", "kind", "name"], "Time of the newest restore point.";
        BACKUP_SIZE_BYTES = Gauge, "highwater_backup_size_bytes", ["app", "kind", "name"], "Size of the newest restore point.";
        BACKUP_PROVEN_TIMESTAMP_SECONDS = Gauge, "highwater_backup_proven_timestamp_seconds", ["app", "kind", "name"], "When a restore point was last proven.";
        DRILL_LAST_RESULT = Gauge, "highwater_drill_last_result", ["app", "kind", "name"], "1 when the last drill restored, else 0.";
        DRILL_LAST_SUCCESS_TIMESTAMP_SECONDS = Gauge, "highwater_drill_last_success_timestamp_seconds", ["app", "kind", "name"], "When a drill last restored; absent after a failed one.";
        DRILL_DURATION_SECONDS = Gauge, "highwater_drill_duration_seconds", ["app", "kind", "name"], "How long the last drill took.";
        DRILL_INTERVAL_SECONDS = Gauge, "highwater_drill_interval_seconds", ["app", "kind", "name"], "How often a drill is due.";
        EXPORTER_LAST_SUCCESS_TIMESTAMP_SECONDS = Gauge, "highwater_exporter_last_success_timestamp_seconds", ["destination"], "When the store was last read completely.";
        EXPORTER_UNREADABLE = Gauge, "highwater_exporter_unreadable_objects", ["destination"], "Status objects that could not be read.";
    }
}
