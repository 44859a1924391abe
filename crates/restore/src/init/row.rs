//! What was done, as the lines of `restored.json`.

use door::Failure;
use file_replica::restore::InitOutcome;
use protect::handover::{RestoredDatabase, RestoredFiles};
use sqlite_replica::init::Done;
use telemetry::Exit;

/// One line.
pub(crate) enum Row {
    Database(RestoredDatabase),
    Tree(RestoredFiles),
}

pub(crate) fn of_database(path: &str, done: Done, seconds: f64) -> Row {
    if let Some(restored) = &done.restored {
        tracing::info!(database = path, txid = restored.txid, timestamp = restored.timestamp, "restored");
    }
    if let Some(aside) = &done.aside {
        tracing::warn!(database = path, aside = %aside.display(), "what was there is set aside");
    }
    Row::Database(RestoredDatabase {
        path: path.to_owned(),
        outcome: done.outcome,
        lineage: done.claim.map_or(done.lineage, |c| c.lineage),
        epoch: done.claim.map_or(0, |c| c.epoch),
        txid: done.claim.map_or(0, |c| c.txid),
        claimed: done.claim.is_some(),
        bytes: done.bytes,
        seconds,
    })
}

pub(crate) fn of_tree(path: &str, done: InitOutcome, seconds: f64) -> Result<Row, Failure> {
    if let Some(restored) = &done.restored {
        tracing::info!(
            tree = path,
            snapshot = restored.snapshot,
            timestamp = restored.time,
            entries = restored.entries,
            "restored"
        );
        if let Some(aside) = &restored.aside {
            tracing::warn!(tree = path, aside, things = restored.moved_aside, "what was there is set aside");
        }
    }
    let epoch = u32::try_from(done.epoch)
        .map_err(|_| Failure::new(Exit::Failed, format!("claim {} is too large to hand over", done.epoch)))?;
    Ok(Row::Tree(RestoredFiles {
        path: path.to_owned(),
        outcome: done.outcome,
        epoch,
        snapshot: done.snapshot,
        claimed: done.claimed,
        bytes: done.bytes,
        seconds,
    }))
}
