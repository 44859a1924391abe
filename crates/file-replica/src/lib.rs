//! A replica of a directory tree in an object store: packs of files, and numbered manifests that say which are current.
//!
//! Two halves with nothing but the store between them: [`Writer`] looks at a live tree and commits snapshots; [`restore`] and its
//! neighbours read. Where each promise is kept: P1 and P2 in `manifest` (a snapshot exists when its commit exists, and proves every
//! byte it refers to) and `read` (no torn files); P3 in [`guard`], [`start`] and `retention`; P4 in `claim` and the create-only
//! commit; P6 in `catalogue`; P7 in `compact` and `pack`; P8 in `docs/formats/files.md`.
//! It knows no HTTP and no command line, and of SQLite only that a file is one.

mod catalogue;
mod chest;
mod claim;
mod compact;
mod diff;
mod drill;
mod entry;
mod error;
mod export;
mod filter;
pub mod guard;
mod home;
mod import;
mod layout;
mod manifest;
mod mirror;
mod pack;
mod path;
mod points;
mod presets;
mod read;
mod repo;
pub mod restore;
pub mod retention;
mod scan;
mod start;
mod state;
mod steps;
mod survey;
#[cfg(test)]
mod testing;
mod text;
mod verify;
pub mod watch;
mod write;

pub use catalogue::{Catalogue, read_head, read_manifest};
pub use claim::{Claim, claim, unlock};
pub use diff::{Change, What, diff};
pub use drill::{Drill, DrillOptions, DrilledSnapshot, drill};
pub use entry::{Content, Digest, Entry, Kind, Time, Xattr};
pub use error::{Class, Error, Result};
pub use export::export_tar;
pub use filter::Filter;
pub use home::{Home, Lock, Marker};
pub use import::{Imported, import};
pub use layout::{DRILL_KEY, PROVEN_KEY, REPO_KEY, STATUS_KEY, Seq};
pub use manifest::{CommitKind, Head, Manifest, Object};
pub use mirror::{Mirrored, export_mirror};
pub use path::RelPath;
pub use points::{Point, points};
pub use presets::presets;
pub use repo::{Identity, Repo};
#[cfg(test)]
pub(crate) use restore::restore_fold;
pub use scan::LeftOut;
pub use start::{Beginning, begin};
pub use steps::Steps;
pub use survey::{Damage, Survey, survey};
pub use verify::{Proven, Verified, record, verify};
pub use write::{Committed, Inherited, Settings, Writer};
