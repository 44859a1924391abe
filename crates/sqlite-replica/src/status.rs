//! `highwater/status.json` beside a replica: how old, how large, how well proven, for an exporter that sees only the bucket.
//!
//! Overwritten, and no part of any promise: whoever restores never reads it. One PUT per restore point, never while idle. The
//! results of drills stand in an object of their own, so that two writers never race.

use crate::error::Result;
use serde::{Deserialize, Serialize};
use store::{PutOptions, Store};

/// Key below the replica.
pub const STATUS_KEY: &str = "highwater/status.json";

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusObject {
    /// Version of this document: 1.
    pub format: u32,
    /// `sqlite`.
    pub kind: String,
    /// Application, empty if none was given.
    pub app: String,
    /// Cluster, empty if none was given.
    pub cluster: String,
    /// The database.
    pub name: String,
    /// When this was written, RFC 3339.
    pub written: String,
    /// The newest restore point, RFC 3339.
    pub last_point: String,
    /// Bytes of the database.
    pub size_bytes: u64,
    /// When a restore point was last proven, RFC 3339.
    pub proven: Option<String>,
    /// Always null here: drills have an object of their own.
    pub drill: Option<()>,
}

impl StatusObject {
    /// Writes it over the last one.
    pub async fn put(&self, store: &Store) -> Result<()> {
        let body = serde_json::to_vec_pretty(self).expect("plain fields serialise");
        let json = PutOptions { content_type: Some("application/json".into()), ..PutOptions::overwrite() };
        store.put(STATUS_KEY, body.into(), &json).await?;
        Ok(())
    }
}
