//! What a fleet is made of: the databases to follow or to look for, and where stores come from.

use crate::error::Error;
use crate::fleet::board::State;
use crate::fleet::limits::Limits;
use crate::write::{Config, Event};
use futures::future::BoxFuture;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// What to follow.
#[derive(Debug, Clone, Default)]
pub struct FleetConfig {
    /// The databases.
    pub targets: Vec<Target>,
    /// What may be used.
    pub limits: Limits,
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
    /// `None`: the one file `writer.database`. Otherwise every database that is found, now and later; what is a database's own in
    /// `writer` is then filled in for each.
    pub found: Option<Found>,
}

/// Databases that are looked for.
#[derive(Debug, Clone)]
pub struct Found {
    /// Names are relative to it.
    pub root: PathBuf,
    /// Directory below the root, empty for the root itself. Everything in it belongs to the target, unless there is a pattern.
    pub directory: PathBuf,
    /// Glob over the path relative to the root: `*` and `?` stay within a directory, `**` does not.
    pub pattern: Option<String>,
    /// Completes the writer of each.
    pub fill: Fill,
}

/// Sets what is a database's own, by its name: the replica, the claim. False if it cannot have a replica.
#[derive(Clone)]
pub struct Fill(pub Arc<Filling>);

/// What a [`Fill`] calls.
pub type Filling = dyn Fn(&str, &mut Config) -> bool + Send + Sync;

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

/// Two databases that cannot be followed side by side, or a pattern that is none; nothing has begun. The configuration is
/// wrong (exit code 2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Conflict {
    /// Where the later of the two was written.
    pub place: String,
    /// What they have in common, and with whom.
    pub what: String,
}

impl Found {
    /// Where the search begins: as deep as the pattern says without a wildcard.
    pub(crate) fn base(&self) -> PathBuf {
        let mut base = self.root.join(&self.directory);
        let parts: Vec<&str> = self.pattern.iter().flat_map(|pattern| pattern.split('/')).collect();
        let fixed = parts.split_last().map_or(&[][..], |(_, directories)| directories);
        base.extend(fixed.iter().take_while(|part| !part.contains(['*', '?', '[', '{'])));
        base
    }
}

/// A glob; `*` and `?` stay within a directory.
pub(crate) fn pattern(text: &str) -> Result<globset::GlobMatcher, String> {
    let glob = globset::GlobBuilder::new(text).literal_separator(true).build();
    Ok(glob.map_err(|error| format!("{text:?} is not a pattern: {}", error.kind()))?.compile_matcher())
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fill")
    }
}
