//! The manifest: what a snapshot is, and what was proven about it. Written last, create-only, in the clear.
//!
//! It holds no secret: names of resources and their counts, digests, sizes. An object without a manifest is not a backup.
//! What is proven after the manifest was written (read back by `verify`, restored by `drill`) stands in a [`LaterProof`] beside it.

use crate::proof::{HashKv, Verdict};
use crate::source::Origin;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use telemetry::Exit;

/// The only format so far.
pub const FORMAT: u32 = 1;
/// A manifest is smaller than this (P7).
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// See the module; the field names are the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the tool.
    pub tool: String,
    /// Cluster as configured.
    pub cluster: String,
    /// UID of the namespace kube-system; `None` where the cluster is not Kubernetes. "None" matches "none".
    pub kube_system_uid: Option<String>,
    /// When the stream was opened, RFC 3339.
    pub taken_at: String,
    /// The store's clock minus ours in ms, if the store has one.
    pub store_skew_ms: Option<i64>,
    /// The clocks differed by more than 5 minutes; such a snapshot is never an anchor of retention.
    #[serde(default)]
    pub clock_suspect: bool,
    /// Where it came from.
    pub origin: Origin,
    /// Seconds for which the member held its read transaction.
    pub stream_seconds: Option<f64>,
    /// etcd revision.
    pub revision: i64,
    /// Compact revision, -1 for never.
    pub compact_revision: i64,
    /// Storage version.
    pub storage_version: String,
    /// Raft term.
    pub raft_term: Option<u64>,
    /// Raft index.
    pub raft_index: Option<u64>,
    /// Bytes of the bbolt body; the payload has 32 more, its SHA-256.
    pub body_bytes: u64,
    /// SHA-256 of the body, hex.
    pub body_sha256: String,
    /// True when the source had no trailer and it was added, so that every restore tool takes the file.
    #[serde(default)]
    pub trailer_added: bool,
    /// The hash that `etcdutl snapshot status` prints, hex.
    pub status_hash: String,
    /// Keys that exist.
    pub keys: u64,
    /// Entries of all buckets.
    pub entries: u64,
    /// Existing keys per Kubernetes resource.
    pub resources: BTreeMap<String, u64>,
    /// Compared with the live members.
    pub hashkv: HashKv,
    /// Key of the stored snapshot.
    pub object: String,
    /// Its bytes.
    pub stored_bytes: u64,
    /// Its SHA-256, hex.
    pub stored_sha256: String,
    /// Whom it is sealed for; empty when plain.
    pub recipients: Vec<String>,
    /// Key of the sealed K3s token.
    #[serde(default)]
    pub token: Option<String>,
    /// Whether the token was proven to open the bootstrap data of this snapshot.
    #[serde(default)]
    pub token_opens: Option<bool>,
    /// Level of proof that was reached, see [`crate::proof`]; 4 means read back.
    pub level: u8,
    /// Whether the stored object was read back and compared.
    pub read_back: bool,
}

/// What was proven later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaterProof {
    /// [`FORMAT`].
    pub format: u32,
    /// Level of proof: 1 to 5.
    pub level: u8,
    /// Why it failed; a failed one never fills a slot.
    pub failed: Option<String>,
    /// `verify` or `drill`.
    pub by: String,
    /// RFC 3339.
    pub at: String,
}

impl Manifest {
    /// Reads one; `key` names it in errors.
    pub fn parse(bytes: &[u8], key: &str) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::Damaged(format!("manifest {key}: {error}")))?;
        if manifest.format != FORMAT {
            return Err(Error::Damaged(format!(
                "manifest {key} has format {}; {FORMAT} is known",
                manifest.format
            )));
        }
        if clock::parse_unix_ms(&manifest.taken_at).is_none() {
            return Err(Error::Damaged(format!("manifest {key}: taken_at is no time")));
        }
        Ok(manifest)
    }

    /// How the run ends that made it: what is wrong with a snapshot that is kept all the same.
    pub fn exit(&self) -> Exit {
        match (self.hashkv.verdict, self.token_opens) {
            (Verdict::Mismatch, _) => Exit::Damaged,
            (_, Some(false)) => Exit::Refused,
            _ => Exit::Done,
        }
    }

    /// Unix seconds at which it was taken.
    pub fn taken(&self) -> i64 {
        clock::parse_unix_ms(&self.taken_at).unwrap_or(0) / 1_000
    }
}
