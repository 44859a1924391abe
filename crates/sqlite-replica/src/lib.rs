//! A replica of one SQLite database in an object store, in Litestream 0.5's layout.
//!
//! Two halves: [`run`] follows a live database and writes; [`restore`] reads. Between them lies nothing but the store, and each
//! promise is kept where it can be broken: P1 in `write::send` (durable = stored and synced), P2 in `restore` (only ends of
//! files, whole result proven), P3 in `write::start` (nothing is uploaded over a history that is not ours), P4 in the
//! create-only commit of every numbered object, P6 in [`Catalogue::load`].
//! It knows no HTTP and no command line. Formats: `docs/formats/ltx.md`, `docs/formats/sqlite-replica.md`.

mod batch;
mod catalogue;
mod claim;
mod error;
mod fleet;
mod identity;
mod layout;
mod local;
mod origin;
mod owner;
mod proven;
mod restore;
mod sealed;
mod state;
mod status;
mod table;
mod upkeep;
mod write;

pub use catalogue::{Catalogue, Entry};
pub use claim::{Basis, Claim, Claimant, Claiming, unlock};
pub use error::{Class, Error, Result};
pub use fleet::{
    Conflict, Database, Fill, Filling, Fleet, FleetConfig, FleetHandle, Found, Limits, News, Outcome,
    Selection, State, Status, Stores, Target,
};
pub use identity::{Identity, Lineage};
pub use layout::{LINEAGE_KEY, Layout, Level, PROVEN_KEY};
pub use origin::Descent;
pub use owner::{OWNER_KEY, Owner};
pub use proven::{By, How, Proven};
pub use restore::{
    Applied, Budget, DRILL_KEY, Drill, DrillOptions, DrilledPoint, Finding, Follower, Goal, Integrity, Point,
    Progress, Recovered, Recovery, RestoreOptions, RestorePlan, Restored, Verification, VerifyOptions, Way,
    drill, point_at, points, read_header, refuse_foreign, refuse_open, replicas_below, restore, verify,
};
pub use restore::{init, v03};
pub use state::StateDir;
pub use status::{STATUS_KEY, StatusObject};
pub use upkeep::{
    Barrier, CompactionPlan, Deletion, Healing, Holding, Holdings, Outlook, Policy, Pruned, Reason, Report,
    RetentionPlan, SnapshotPlan, plan_prune, probe, prune,
};
pub use write::{
    Config, Event, Finish, Host, Inbox, Pause, RuntimeHost, Step, Surroundings, Synced, Taken, Why, Writer,
    run,
};
