//! From a replica back to a database file: what can be restored, how, and the doing of it.

mod below;
mod budget;
mod drill;
mod execute;
mod follow;
mod foreign;
pub mod init;
mod integrity;
mod large;
mod object;
mod occupied;
mod plan;
mod points;
mod proof;
mod recover;
mod replay;
mod sealed;
mod target;
mod unopened;
pub mod v03;
mod verify;

pub use below::replicas_below;
pub use budget::Budget;
pub use drill::{DRILL_KEY, Drill, DrillOptions, DrilledPoint, drill};
pub use execute::{RestoreOptions, Restored, restore};
pub use follow::{Applied, Follower};
pub use foreign::refuse_foreign;
pub use integrity::Integrity;
pub(crate) use object::read_head;
pub use object::read_header;
pub use occupied::refuse_open;
pub use plan::RestorePlan;
pub use points::{Point, point_at, points};
pub use recover::{Finding, Goal, Recovered, Recovery, Way};
pub use store::Progress;
pub use verify::{Verification, VerifyOptions, verify};
