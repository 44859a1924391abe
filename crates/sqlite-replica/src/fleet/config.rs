//! What a fleet is made of: the databases to follow, and where stores come from.

use crate::error::Error;
use crate::fleet::board::State;
use crate::write::{Config, Event};
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::time::Duration;
use store::Store;

/// What to follow.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// The databases.
    pub targets: Vec<Target>,
    /// Go on running when every database has ended or was refused, so that this stays visible (in a pod).
    pub stay: bool,
}

/// One entry of a description.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it was written, for messages: `protect.yaml:7: databases[0].path`, `command line`.
    pub place: String,
    /// How its databases are written.
    pub writer: Config,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Name in claims, metrics and commands: relative to the root of the description, or the file name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// URL of the replica.
    pub replica: String,
}

/// Opens the store of a replica. One client is to be shared by all replicas of a bucket.
pub trait Stores: Send + Sync {
    /// The store, scoped to the replica. Nothing is sent.
    fn open<'a>(&'a self, database: &'a Database) -> BoxFuture<'a, store::Result<Store>>;
}

/// What a fleet tells of a database.
#[derive(Debug)]
pub enum News<'a> {
    /// Its writer says something.
    Writer(Event),
    /// It is in another state now.
    State(State),
    /// Its writer ended with an error.
    Failed {
        /// Why.
        error: &'a Error,
        /// When it is tried again; `None` if it is not.
        retry_in: Option<Duration>,
    },
}

/// Two databases that cannot be followed side by side; nothing has begun. The configuration is wrong (exit code 2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Conflict {
    /// Where the later of the two was written.
    pub place: String,
    /// What they have in common, and with whom.
    pub what: String,
}

impl FleetConfig {
    /// Refuses what cannot be followed side by side: the same file or the same replica twice.
    pub(crate) fn check(&self) -> Result<(), Conflict> {
        for (i, target) in self.targets.iter().enumerate() {
            let (path, replica) = (&target.writer.database, &target.writer.replica);
            for earlier in &self.targets[..i] {
                let place = target.place.clone();
                if earlier.writer.database == *path {
                    let what = format!("{} is already followed by {}", path.display(), earlier.place);
                    return Err(Conflict { place, what });
                }
                if earlier.writer.replica == *replica {
                    let other = earlier.writer.database.display();
                    let what =
                        format!("{replica} is already the replica of {other}; a replica holds one database");
                    return Err(Conflict { place, what });
                }
            }
        }
        Ok(())
    }
}
