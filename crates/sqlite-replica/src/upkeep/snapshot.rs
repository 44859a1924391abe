//! What a due restore point takes: nothing, a proof, or a full image. A pure function of what is held.
//!
//! The interval of a profile means "a proven restore point this often". An image is made only when the increments since the last one
//! weigh more than half of it, or daily, or where the levels cannot go on without one (trap 16): `critical` is one image a
//! day, not twenty-four.

use crate::layout::Level;
use crate::upkeep::compaction::Why;
use crate::upkeep::holdings::Holdings;
use crate::upkeep::policy::Policy;
use ltx::Txid;
use serde::Serialize;
use std::fmt;

/// What a due restore point takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum SnapshotPlan {
    /// Nothing changed since the last proven point: success without a request.
    Nothing,
    /// Read back what was not read back yet.
    Prove {
        /// Files of the chain.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// A full image, then its proof.
    Image {
        /// Why.
        why: &'static str,
    },
}

impl SnapshotPlan {
    /// Plans. `blocked`: why the levels cannot go on, if so.
    pub fn new(holdings: &Holdings, policy: &Policy, blocked: Option<Why>) -> SnapshotPlan {
        let Some(newest) = holdings.newest() else { return SnapshotPlan::Nothing };
        let chain = holdings.chain(newest);
        let image = |why| SnapshotPlan::Image { why };
        let Some((base, increments)) = chain.split_first() else {
            return image("there is no image to start from");
        };
        if chain.last().is_none_or(|last| last.name.max < newest) {
            return image("the chain has a hole");
        }
        match blocked {
            Some(Why::NoSnapshot) => return image("the levels need a snapshot to stand on"),
            Some(Why::Image) => return image("an image lies between the increments"),
            Some(Why::NotAtHand) => return image("files to merge are not at hand"),
            Some(Why::Hole) => return image("a level has a hole"),
            None => {}
        }
        if holdings.proven.is_some_and(|p| settled(holdings, p, newest)) {
            return SnapshotPlan::Nothing;
        }
        let since: u64 = increments.iter().map(|h| h.size).sum();
        if increments.iter().any(|h| !h.is_claim()) {
            if since > base.size / 2 {
                return image("the increments weigh more than half of the last image");
            }
            if holdings.newest_ms() - base.time_ms >= policy.image.as_millis() as i64 {
                return image("the last image is a day old");
            }
        }
        SnapshotPlan::Prove { files: chain.len(), bytes: chain.iter().map(|h| h.size).sum() }
    }
}

/// Whether nothing but claims came after the proven point.
fn settled(holdings: &Holdings, proven: Txid, newest: Txid) -> bool {
    proven == newest
        || (holdings.reaches(proven)
            && holdings.level_from(Level::SYNC, proven.next()).all(|h| h.is_claim())
            && (1..=Level::SNAPSHOT.0).all(|l| holdings.end_of(Level(l)).is_none_or(|end| end <= proven)))
}

impl fmt::Display for SnapshotPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotPlan::Nothing => f.write_str("nothing: the newest state is proven"),
            SnapshotPlan::Prove { files, bytes } => {
                write!(f, "prove {files} files, at most {bytes} bytes to read")
            }
            SnapshotPlan::Image { why } => write!(f, "a full image: {why}"),
        }
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
