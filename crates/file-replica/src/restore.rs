//! Bringing a tree back: decide, plan, execute.
//!
//! [`decide`] is the table of what a start may do; [`RestorePlan`] is what will be written, as a value that can be printed; [`restore`]
//! writes it: every file under a temporary name on the same file system, proven, synced, renamed; the marker last. A journal
//! says that a restore is under way until then, so a crash is resumed and never mistaken for a finished tree (P2).
//! Nothing that was there is destroyed: what a restore replaces is moved aside (P3).

mod budget;
mod decide;
mod execute;
mod fetch;
#[cfg(test)]
mod fold;
mod init;
mod on_top;
mod plan;
mod same;
mod sort;
pub(crate) mod tree;

pub use budget::Budget;
pub use decide::{Decision, Local, Observed, Policy, Reason, Replica, Tie, decide};
pub use execute::{Options, Restored, restore};
pub use init::{InitOutcome, Task, init, is_worth_retrying, would};
pub use plan::{RestorePlan, Want};
pub(crate) use same::is_exactly;
pub use store::Progress;

#[cfg(test)]
pub(crate) use fold::fold as restore_fold;

use crate::Result;
use crate::home::Home;
use crate::layout::Seq;
use serde::{Deserialize, Serialize};

const JOURNAL: &str = "restore.json";

/// A restore under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) format: u32,
    pub(crate) lineage: String,
    pub(crate) snapshot: Seq,
    /// Below `set-aside/`: what was there before.
    pub(crate) set_aside: String,
}

impl Journal {
    pub(crate) fn load(home: &Home) -> Result<Option<Journal>> {
        home.document(JOURNAL)
    }

    pub(crate) fn save(&self, home: &Home) -> Result<()> {
        home.set_document(JOURNAL, self)
    }

    pub(crate) fn remove(home: &Home) -> Result<()> {
        home.remove(JOURNAL)
    }
}

/// Whether a restore into this tree was begun and not ended.
pub(crate) fn is_unfinished(home: &Home) -> Result<bool> {
    Ok(Journal::load(home)?.is_some())
}

#[cfg(test)]
mod tests;
