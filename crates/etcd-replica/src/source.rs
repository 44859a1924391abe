//! Where snapshots come from: etcd's own RPC, the Talos machine API, or a file that exists already.
//!
//! A source hands over a snapshot at level 1 (complete, equal to its digest) in a sealed spool, and what it knows about
//! the member: whose state this is, and what the live members answer to HashKV. It never writes to the cluster.

pub(crate) mod choose;
pub(crate) mod connect;
mod drain;
mod etcd;
mod file;
mod talos;
mod talosconfig;
pub(crate) mod wire;
mod zip;

pub use connect::TlsFiles;
pub use drain::Limits;
pub use etcd::EtcdSource;
pub use file::FileSource;
pub use talos::TalosSource;

pub(crate) use etcd::Etcd;
pub(crate) use talosconfig::TalosConfig;

use crate::Result;
use crate::intake::Received;
use crate::proof::MemberHash;
use clock::Clock;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a source knows about the snapshot; part of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `etcd`, `talos` or `file`.
    pub kind: String,
    /// Endpoint, or path of the file.
    pub endpoint: String,
    /// etcd's cluster id, 16 hex digits; not unique (see `docs/formats/etcd.md`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Member id, 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    /// Member name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_name: Option<String>,
    /// Version of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// Whether the member led the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<bool>,
    /// Alarms that were raised, as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// Size of the member's database file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_size: Option<u64>,
    /// Bytes of it that are in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_in_use: Option<u64>,
}

impl Origin {
    pub(crate) fn new(kind: &str, endpoint: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            endpoint: endpoint.to_owned(),
            cluster_id: None,
            member_id: None,
            member_name: None,
            etcd_version: None,
            leader: None,
            alarms: Vec::new(),
            db_size: None,
            db_in_use: None,
        }
    }
}

/// A snapshot as it came from its source.
pub struct Taken {
    /// The bytes, proven complete.
    pub received: Received,
    /// What is known about the member.
    pub origin: Origin,
    /// When the stream was opened, Unix ms.
    pub taken_ms: i64,
    /// Seconds for which the member held its read transaction; `None` for files.
    pub stream_seconds: Option<f64>,
    /// What live members answered; `Err` says why none was asked.
    pub hashes: Result<Vec<MemberHash>, String>,
}

/// Any source.
pub enum Source {
    /// etcd v3 over gRPC.
    Etcd(EtcdSource),
    /// The Talos machine API.
    Talos(TalosSource),
    /// A snapshot on disk.
    File(FileSource),
}

impl Source {
    /// Takes one snapshot into a spool in `dir`.
    pub async fn take(&self, dir: &Path, clock: &dyn Clock) -> Result<Taken> {
        match self {
            Self::Etcd(source) => source.take(dir, clock).await,
            Self::Talos(source) => source.take(dir, clock).await,
            Self::File(source) => source.take(dir, clock).await,
        }
    }
}
