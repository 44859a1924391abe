//! What one source says, and how sources are laid over each other.
//!
//! A layer knows where each value was written. Laying is per key: the later source wins, and a list replaces the whole
//! list. The replica is one key, whether it was written as a URL or as bucket, prefix and endpoint.

use crate::{Integrity, Keep, Located, Place, Profile, RestoreMode};
use std::time::Duration;

/// One database as a source describes it; what is `None` falls back to the defaults of all databases.
#[derive(Debug, Clone)]
pub struct DatabaseEntry {
    /// Relative to the root; a file, a directory or a glob.
    pub path: Located<String>,
    /// Its own replica instead of one below the common replica.
    pub url: Option<Located<String>>,
    /// Its profile.
    pub profile: Option<Located<Profile>>,
    /// Overrides the profile's interval.
    pub snapshot: Option<Located<Duration>>,
    /// Overrides the profile's retention.
    pub keep: Option<Located<Keep>>,
}

impl DatabaseEntry {
    /// A database of which only the path is said.
    pub fn at(path: Located<String>) -> Self {
        Self { path, url: None, profile: None, snapshot: None, keep: None }
    }
}

/// One directory tree as a source describes it.
#[derive(Debug, Clone)]
pub struct FilesEntry {
    /// Relative to the root.
    pub path: Located<String>,
    /// Its own replica instead of one below the common replica.
    pub url: Option<Located<String>>,
    /// Gitignore patterns of what is left out.
    pub exclude: Option<Vec<String>>,
    /// Overrides the profile's interval.
    pub snapshot: Option<Located<Duration>>,
    /// Overrides the profile's retention.
    pub keep: Option<Located<Keep>>,
}

impl FilesEntry {
    /// A tree of which only the path is said.
    pub fn at(path: Located<String>) -> Self {
        Self { path, url: None, exclude: None, snapshot: None, keep: None }
    }
}

/// Declares the layer and how one is laid over another, so that no key can be forgotten in either.
macro_rules! layer {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// What one source says; flags fill one directly.
        #[derive(Debug, Clone, Default)]
        pub struct Layer {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        impl Layer {
            /// Lays a later source over this one.
            pub fn lay(&mut self, later: Layer) {
                $(if later.$field.is_some() {
                    self.$field = later.$field;
                })*
            }
        }
    };
}

layer! {
    /// Name of the application; part of prefix and claim.
    app: Located<String>,
    /// Name of the cluster; part of prefix and claim.
    cluster: Located<String>,
    /// URL below which everything is replicated.
    replica: Located<String>,
    /// Directory that paths are relative to.
    root: Located<String>,
    /// Public keys that replicas are sealed for.
    recipients: Located<Vec<String>>,
    /// Profile of databases that name none.
    profile: Located<Profile>,
    /// Overrides the interval of every profile.
    snapshot: Located<Duration>,
    /// Overrides the retention of every profile.
    keep: Located<Keep>,
    /// The databases.
    databases: Vec<DatabaseEntry>,
    /// The directory trees.
    files: Vec<FilesEntry>,
    /// Gitignore patterns for trees that have none of their own.
    files_exclude: Located<Vec<String>>,
    /// How long a tree must be quiet before it is shipped.
    debounce: Located<Duration>,
    /// What `restore init` does.
    restore: Located<RestoreMode>,
    /// To which point it restores, Unix milliseconds.
    restore_at: Located<i64>,
    /// How long it may take.
    restore_timeout: Located<Duration>,
    /// How its result is checked.
    integrity: Located<Integrity>,
}

impl Layer {
    /// A value given on the command line, for callers that fill a layer from flags.
    pub fn flag<T>(name: &str, value: T) -> Located<T> {
        Located::new(value, Place::new("command line", name))
    }
}
