//! The one description of what a pod protects.
//!
//! Every binary of a pod reads it the same way, so that they can never disagree. Sources, later wins: YAML file, pod
//! annotations, environment, flags. Lists replace, they never merge.
//!
//! Promises:
//! * strict: unknown keys, unreadable values, duplicates and contradictions are errors that name source, line, key and
//!   the nearest valid name; nothing is silently ignored;
//! * [`Description::fingerprint`] is equal exactly when two binaries would protect the same things the same way, whatever
//!   sources said so;
//! * no database and no replica is described twice (P4).
//!
//! What it does not do: protect anything, open a store, or check that a key is one.

mod annotations;
mod class;
mod description;
mod duration;
mod environment;
mod error;
mod expand;
mod flat;
pub mod handover;
mod keep;
mod layer;
pub mod litestream;
mod nearest;
mod place;
mod profile;
mod resolve;
mod restore;
mod schema;
mod sources;
pub mod unwritable;
mod yaml;

pub use annotations::DEFAULT_DOMAIN;
pub use class::Class;
pub use description::{Database, Description, Encrypt, Files};
pub use error::Error;
pub use expand::Variables;
pub use handover::Handover;
pub use keep::Keep;
pub use layer::{DatabaseEntry, FilesEntry, Layer};
pub use place::{Located, Place};
pub use profile::Profile;
pub use restore::{Integrity, Restore, RestoreMode};
pub use schema::json_schema;
pub use sources::Sources;
