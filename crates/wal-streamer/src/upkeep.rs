//! Levels, images, retention and checks of one database as log lines and metrics.

use sqlite_replica::{Healing, Report};
use telemetry::DbMetrics;

/// Notes a report of the writer of `db`.
pub(crate) fn note(db: impl std::fmt::Display, metrics: &DbMetrics, now_ms: i64, report: Report) {
    match report {
        Report::Compacted { level, files, through, bytes } => {
            tracing::debug!(%db, level, files, through, bytes, "compacted");
        }
        Report::ImageStarted { txid, why } => tracing::info!(%db, txid, why, "taking a snapshot"),
        Report::ImageStored { txid, bytes, took } => {
            metrics.snapshot_done(now_ms, bytes, took.as_secs_f64());
            tracing::info!(%db, txid, bytes, took_ms = took.as_millis() as u64, "snapshot stored");
        }
        Report::ImagePutOff { why, retry_in } => {
            metrics.snapshot_failed();
            tracing::warn!(%db, why, retry_in_s = retry_in.as_secs(), "no snapshot, it is tried again");
        }
        Report::RestorePoint { txid, proven, read } => {
            metrics.restore_point(now_ms);
            if proven {
                metrics.verified(now_ms, true);
            }
            tracing::info!(%db, txid, proven, read, "restore point");
        }
        Report::Pruned { deleted, bytes, failed, error } => {
            metrics.retention_done(now_ms, deleted as u64);
            if failed > 0 {
                metrics.retention_failed();
                tracing::warn!(%db, deleted, failed, error, "the store would not delete");
            } else {
                tracing::debug!(%db, deleted, bytes, "pruned");
            }
        }
        Report::Verified { how, ok, through, finding } => {
            metrics.verified(now_ms, ok);
            match finding {
                None => tracing::debug!(%db, %how, through, "verified"),
                Some(finding) => tracing::error!(%db, %how, finding, "the replica is damaged"),
            }
        }
        Report::Healed { by, txid } => {
            let by = match by {
                Healing::Resent => "sent again from the volume",
                Healing::Bridged => "bridged by a snapshot",
            };
            tracing::warn!(%db, txid, by, "a hole of the replica is closed");
        }
        Report::Failed { what, error, reason, retry_in } => {
            metrics.sync_error(reason);
            tracing::warn!(%db, what, error, retry_in_s = retry_in.as_secs(), "upkeep failed, it is repeated");
        }
        Report::Objects(_) => {}
    }
}
