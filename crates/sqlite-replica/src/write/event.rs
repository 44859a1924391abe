//! What a writer tells its surroundings; the doors turn it into log lines and metrics.

use crate::upkeep::Report;
use std::time::Duration;

/// What was copied from the WAL since attaching.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Commits.
    pub commits: u64,
    /// Frames.
    pub frames: u64,
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// No database file yet.
    Waiting,
    /// Attached to the database.
    Attached {
        /// Bytes per page.
        page_size: u32,
    },
    /// The replica is ours under this epoch.
    Claimed {
        /// Number of the claim.
        epoch: u32,
        /// TXID the claim took, 0 if a side object or the first image is the claim.
        txid: u64,
    },
    /// The position in the WAL was proven: nothing to compare.
    Resumed,
    /// The position could not be proven: the database was compared with the page table.
    Compared {
        /// Why.
        reason: String,
        /// Pages that differed.
        pages: u64,
    },
    /// A full image begins.
    ImageStarted {
        /// Pages.
        pages: u32,
        /// Why.
        why: &'static str,
    },
    /// Committed data was seen that is not in the store.
    Behind {
        /// Frames in the WAL not yet taken.
        wal_bytes: u64,
    },
    /// Commits were copied from the WAL.
    Copied(Taken),
    /// Everything up to this point is restorable from the store alone (P1).
    Durable {
        /// TXID of the file.
        txid: u64,
        /// Bytes of the file.
        bytes: u64,
        /// What had been copied when it was staged.
        taken: Taken,
        /// Pages in the database.
        db_pages: u32,
        /// From the first commit in the file being seen to durable.
        lag: Duration,
        /// Duration of the PUT.
        put: Duration,
    },
    /// Nothing in the WAL that is not in the store.
    CaughtUp,
    /// The store did not take it; it will be tried again.
    UploadFailed {
        /// Why, one line.
        error: String,
        /// Class for the metric label.
        reason: &'static str,
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// The local database is damaged. It is followed only where no good chain stands behind it, or because it was adopted.
    Damaged {
        /// The first finding.
        what: String,
    },
    /// The store cannot refuse a second create: single-writer mode.
    WeakStore,
    /// Another writer owns the replica; nothing is sent any more.
    Fenced {
        /// How it shows, one line.
        why: String,
    },
    /// We held the application's write lock (P5).
    WriteLock {
        /// For how long.
        held: Duration,
    },
    /// Checkpoints made by us so far.
    Tail {
        /// Their number.
        checkpoints: u64,
        /// Bytes of the WAL file.
        wal_bytes: u64,
    },
    /// Levels, images, retention, checks.
    Upkeep(Report),
}
