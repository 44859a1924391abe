//! What a run says about one destination, for people and scripts.

use crate::manifest::Manifest;
use crate::proof::Verdict;
use serde::Serialize;

/// A summary for output.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Where.
    pub destination: String,
    /// Key of the snapshot.
    pub object: String,
    /// etcd revision.
    pub revision: i64,
    /// Level of proof.
    pub level: u8,
    /// Compared with live members.
    pub hashkv: Verdict,
    /// Bytes stored.
    pub stored_bytes: u64,
    /// The hash that etcd's tools print.
    pub status_hash: String,
}

impl From<(&str, &Manifest)> for Summary {
    fn from((url, manifest): (&str, &Manifest)) -> Self {
        Self {
            destination: url.to_owned(),
            object: manifest.object.clone(),
            revision: manifest.revision,
            level: manifest.level,
            hashkv: manifest.hashkv.verdict,
            stored_bytes: manifest.stored_bytes,
            status_hash: manifest.status_hash.clone(),
        }
    }
}
