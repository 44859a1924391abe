//! The resolved description: what every binary of the pod acts on.
//!
//! Nothing in it remembers which source said what, so that the [`Description::fingerprint`] of equal intentions is equal.
//! Paths are relative to `root` unless they were written absolute; they never hold `..`.

use crate::{Keep, Profile, Restore, duration};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// What a pod protects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Name of the application; part of the claim. `None` only where every replica has a URL of its own.
    pub app: Option<String>,
    /// Name of the cluster; part of the claim.
    pub cluster: Option<String>,
    /// URL below which everything without a URL of its own is replicated; variables are expanded.
    pub replica: Option<String>,
    /// Directory that relative paths start at.
    pub root: PathBuf,
    /// Whom replicas are sealed for; `None` is plain.
    pub encrypt: Option<Encrypt>,
    /// The databases, in the order of their paths.
    pub databases: Vec<Database>,
    /// The directory trees, in the order of their paths.
    pub files: Vec<Files>,
    /// What `restore init` does.
    pub restore: Restore,
}

/// Whom replicas are sealed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Encrypt {
    /// Age recipients; never empty.
    pub recipients: Vec<String>,
}

/// One database, or a pattern of databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Relative to the root; a file, a directory or a glob.
    pub path: String,
    /// Its replica; of a pattern or a directory, the URL that matches are below (see [`Database::replica_of`]).
    /// `None` when not backed up.
    pub url: Option<String>,
    /// Its profile; `snapshot` and `keep` already hold what it means here.
    pub profile: Profile,
    /// How often a proven restore point is due.
    #[serde(serialize_with = "duration::as_seconds")]
    pub snapshot: Duration,
    /// What retention keeps.
    pub keep: Keep,
}

impl Database {
    /// Whether the path has glob characters.
    pub fn is_pattern(&self) -> bool {
        is_pattern(&self.path)
    }

    /// The replica of one database file that this entry stands for; `file` is relative to the root as `path` is. It is the
    /// same whether the file was named, found in a named directory, or matched by a pattern below the common replica.
    /// `None` when it is not backed up, or when `file` is not below a named path.
    pub fn replica_of(&self, file: &str) -> Option<String> {
        let mut url = Url::parse(self.url.as_deref()?).ok()?;
        let rest = match file.strip_prefix(self.path.as_str()) {
            _ if self.is_pattern() => file,
            Some("") => return self.url.clone(),
            Some(rest) => rest.strip_prefix('/')?,
            None => return None,
        };
        url.path_segments_mut().ok()?.pop_if_empty().extend(rest.split('/').filter(|part| !part.is_empty()));
        Some(url.to_string())
    }
}

/// One directory tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Files {
    /// Relative to the root; `.` is the root itself.
    pub path: String,
    /// Its replica, complete.
    pub url: String,
    /// Gitignore patterns of what is left out.
    pub exclude: Vec<String>,
    /// How long the tree must be quiet before it is shipped.
    #[serde(serialize_with = "duration::as_seconds")]
    pub debounce: Duration,
    /// How often a proven restore point is due.
    #[serde(serialize_with = "duration::as_seconds")]
    pub snapshot: Duration,
    /// What retention keeps.
    pub keep: Keep,
}

impl Description {
    /// SHA-256 of the description, in hex. `restore init` records it; a sidecar that resolves another one refuses.
    pub fn fingerprint(&self) -> String {
        // Structs and lists only, in the order they are declared: the text is the same for the same values.
        let text = serde_json::to_vec(self).expect("a description is plain data with text keys");
        hex::encode(Sha256::digest(text))
    }

    /// Where a described path is on this machine.
    pub fn locate(&self, path: &str) -> PathBuf {
        if path == "." { self.root.clone() } else { self.root.join(Path::new(path)) }
    }
}

pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '[', '{'])
}
