//! From a replica back to a database file: what can be restored, how, and the doing of it.

mod execute;
mod integrity;
mod large;
mod plan;
mod points;
mod target;

pub use execute::{Progress, RestoreOptions, Restored, read_header, restore};
pub use integrity::Integrity;
pub use plan::RestorePlan;
pub use points::{Point, point_at, points};
