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
    /// Delete.
    Prune(RetentionPlan),
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
    Resent(Holding),
    Merged(Holding, CompactionPlan),
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
