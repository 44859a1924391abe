//! Whose turn it is to write: claims are made by `restore init`, by a writer that was started by hand, or by `restore unlock`;
//! they are inherited by the sidecar of a pod (P4; traps 3, 4, 11; decision 0006).
//!
//! A claim takes the next TXID with a file of zero pages that retention keeps for good: whoever wrote here before collides with
//! it at his next PUT. On a replica without files the lineage object is the claim, and the create-only TXID 1 is the fence.
//!
//! ```text
//! by hand   start: claim -> write -> (collision) exit 5; the next start is refused, unless --adopt
//! in a pod  init: claim -> restore up to it -> restored.json    sidecar: inherit -> write -> (collision) stay up, `fenced`
//!           a restarted sidecar inherits again; once lost, the record says so, and only a new init claims again
//! ```

mod look;
mod settle;
mod take;
mod unlock;
mod volume;

pub use unlock::unlock;
pub use volume::{Basis, Claimant};

pub(crate) use look::{look, look_at};
pub(crate) use settle::{Settled, settle};
pub(crate) use take::{Claims, Ground, first, new_stamp, take};
pub(crate) use volume::check_inherited;

/// A claim that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Id of the history.
    pub lineage: u64,
    /// Number of the claim.
    pub epoch: u32,
    /// TXID of the claim, whose state is that of the file before it; 0 if the replica holds no file yet.
    pub txid: u64,
}

/// How a writer comes to its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Claiming {
    /// Every start claims; who loses ends.
    #[default]
    ByHand,
    /// The start of the pod claimed; this writer never does. Who loses writes no more, over restarts too; the fleet stays up and says so.
    Inherited(Claim),
    /// The start of the pod could not reach the store and started healthy local data without a claim: the first start claims, the
    /// later ones inherit that. Who loses writes no more, over restarts too; the fleet stays up and says so.
    Late,
}
