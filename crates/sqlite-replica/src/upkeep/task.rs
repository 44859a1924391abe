//! What upkeep has the writer do next to its copying, and what came of it: values that own everything they need.

use crate::catalogue::Catalogue;
use crate::upkeep::compaction::CompactionPlan;
use crate::upkeep::holdings::Holding;
use crate::upkeep::prune::Pruned;
use crate::upkeep::retention::RetentionPlan;
use ltx::Txid;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// See whether another writer has been behind our newest number. Asked for by the writer.
    Look { behind: Txid, gaps: u32 },
    /// List the replica; compare with what is known.
    List { scheduled: bool },
    /// Send a lost file again.
    Resend(Holding, PathBuf),
    /// Merge.
    Merge(CompactionPlan, Vec<Option<PathBuf>>),
    /// Read back these files; the point is proven then.
    Prove { files: Vec<Holding>, through: Txid, point: bool },
    /// Read these back once more, whatever is known of them.
    Sample(Vec<Holding>),
    /// The same where nothing can be opened: compare them with the digests of what was sent, in hex.
    Compare(Vec<(Holding, String)>),
    /// Delete.
    Prune(RetentionPlan),
}

/// A file that was stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) file: Holding,
    /// Hex digest of the object, where it is sealed and what lies there is known to be what was sent.
    pub(crate) sha256: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Done {
    Ours,
    Listed {
        catalogue: Catalogue,
        scheduled: bool,
    },
    Sampled(u64),
    Resent(Stored),
    Merged(Stored, CompactionPlan),
    Proven {
        files: Vec<Holding>,
        through: Txid,
        point: bool,
        read: u64,
    },
    Pruned(Pruned),
    /// Somebody has proven something since the deletions were planned.
    Marked(BTreeSet<Txid>),
}
