//! What upkeep tells its surroundings; the doors turn it into log lines and metrics.

use crate::proven::How;
use std::time::Duration;

/// One thing done, put off or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Files of one level became one file of the next.
    Compacted {
        /// Level of the result.
        level: u8,
        /// Files merged.
        files: usize,
        /// Last TXID in it.
        through: u64,
        /// Bytes of the result.
        bytes: u64,
    },
    /// An image is being made of the live database.
    ImageStarted {
        /// The TXID it is the state of.
        txid: u64,
        /// Why.
        why: &'static str,
    },
    /// An image is in the store.
    ImageStored {
        /// The TXID it is the state of.
        txid: u64,
        /// Bytes of the object.
        bytes: u64,
        /// From freezing to stored.
        took: Duration,
    },
    /// An image was given up and is tried again later.
    ImagePutOff {
        /// Why.
        why: String,
        /// When.
        retry_in: Duration,
    },
    /// A restore point that was due exists.
    RestorePoint {
        /// Its TXID.
        txid: u64,
        /// Read back from the store, every byte of it. False where the store may not be read: then the proof comes from outside.
        proven: bool,
        /// Bytes read for it; 0 where nothing had changed since the last one.
        read: u64,
    },
    /// A retention run.
    Pruned {
        /// Objects deleted.
        deleted: usize,
        /// Their bytes.
        bytes: u64,
        /// Objects the store would not delete.
        failed: usize,
        /// Why, of the first of them.
        error: Option<String>,
    },
    /// A check of the replica.
    Verified {
        /// How deep it went.
        how: How,
        /// Nothing is wrong.
        ok: bool,
        /// Newest TXID it covers.
        through: u64,
        /// The first finding.
        finding: Option<String>,
    },
    /// A hole of the chain was closed.
    Healed {
        /// By what.
        by: Healing,
        /// The TXID from which on the chain is whole again.
        txid: u64,
    },
    /// Something could not be done; it is tried again.
    Failed {
        /// What.
        what: &'static str,
        /// Why, one line.
        error: String,
        /// Class for the metric label.
        reason: &'static str,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// Objects of the replica, after they were listed or changed.
    Objects(usize),
}

/// How a hole was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Healing {
    /// The lost object was sent again from the volume.
    Resent,
    /// An image bridges it.
    Bridged,
}
