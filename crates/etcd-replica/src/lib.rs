//! etcd snapshots in a store: taken, proven, sealed, shipped, kept by rule, and given back.
//!
//! The room behind `etcd-shipper` and `restore etcd`. One run is [`ship()`]: a [`source`] hands over a snapshot in a sealed spool, [`proof`]
//! reads all of it and compares it with the live members, the store gets it and is read back, the manifest comes last, and
//! [`retention`] decides what may go. Everything else reads what is in the store.
//!
//! Promises kept here:
//! - P2: only complete snapshots whose digest, structure and content were read become backups; a restore gives back one of them.
//! - P3: retention counts from the newest proven snapshot, deletes few at a time, and nothing when anything looks wrong.
//! - P5: the cluster is only read, and its read transaction is held no longer than the disk needs.
//! - P6: an unknown HashKV is unknown, an absent object is one that a listing proved absent.
//! - P7: memory does not grow with the cluster; every wait has a bound.
//! - P8: `age -d | zstd -d` gives the file that etcd's tools take; see `docs/formats/etcd.md`.

mod bolt;
pub mod catalogue;
pub mod doctor;
pub mod drill;
mod error;
pub mod exporter;
mod intake;
pub mod layout;
pub mod manifest;
mod opening;
pub mod point;
pub mod proof;
pub mod prune;
pub mod restore;
pub mod result;
pub mod retention;
pub mod ship;
mod sighting;
pub mod source;
mod spool;
pub mod survey;
pub mod token;
mod upload;
pub mod verify;

pub use bolt::ReadAt;
pub use catalogue::{Catalogue, Item, clusters, resolve};
pub use error::{Class, Error, Result};
pub use manifest::Manifest;
pub use point::{Point, points};
pub use prune::{PruneOptions, Pruned, plan_prune, prune};
pub use restore::{PassedOver, Progress, choose, passed_over, promising, restore, steps};
pub use retention::{Plan, Policy};
pub use ship::{Delivery, Destination, ShipOptions, Summary, record_failure, ship};
pub use sighting::{Sighting, sighting};
pub use source::{EtcdSource, FileSource, Limits, Source, TalosSource, TlsFiles};
pub use survey::{Survey, record, survey};
pub use token::Token;
pub use verify::{Verified, verify};
