//! Small objects that outlive a job: what the last run found, the policy it applied, and the status for the exporter.
//!
//! A CronJob cannot be scraped, so it leaves its numbers in the bucket; `serve` makes metrics of them. Nothing here is part of a
//! promise: everything can be found out again from the snapshots.

use crate::catalogue::small;
use crate::layout::{POLICY, RESULT};
use crate::proof::Verdict;
use crate::retention::Policy;
use crate::{Error, Result};
use bytes::Bytes;
use clock::Clock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::{PutOptions, Store};

/// `<cluster>/_result.json`: the last run of `ship`, and what was true after it. Times are Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "each field is the metric of the same name")]
pub struct RunResult {
    pub last_attempt: i64,
    pub last_exit_code: u8,
    pub body_bytes: u64,
    pub stored_bytes: u64,
    pub revision: i64,
    pub keys: u64,
    pub verify_level: u8,
    pub hashkv: Option<Verdict>,
    pub stream_seconds: Option<f64>,
    pub upload_seconds: f64,
    pub interval_seconds: i64,
    pub backlog: Option<usize>,
    pub objects: BTreeMap<String, u64>,
    pub db_size: Option<u64>,
    pub db_in_use: Option<u64>,
    pub clock_offset_seconds: Option<i64>,
}

/// `<cluster>/_policy.json`: the retention that was applied last, and how many snapshots it left. Retention alone writes it, so that no
/// run that cannot read it forgets the number (P6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Applied {
    #[serde(flatten)]
    pub(crate) policy: Policy,
    #[serde(default)]
    pub(crate) snapshots: Option<usize>,
}

/// `<cluster>/highwater/status.json`, `drill.json`: the same for all kinds of replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the shape is agreed between all rooms")]
pub struct Status {
    pub format: u32,
    pub kind: String,
    #[serde(default)]
    pub app: String,
    #[serde(default)]
    pub cluster: String,
    #[serde(default)]
    pub name: String,
    pub written: String,
    #[serde(default)]
    pub last_point: Option<String>,
    #[serde(default)]
    pub size_bytes: u64,
    #[serde(default)]
    pub proven: Option<String>,
    #[serde(default)]
    pub drill: Option<DrillStatus>,
}

/// The last drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillStatus {
    /// `ok` or `failed`.
    pub result: String,
    /// RFC 3339.
    pub finished: String,
    /// How long it took.
    pub seconds: f64,
}

/// `<cluster>/highwater/proven.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proven {
    /// Always 1.
    pub format: u32,
    /// Name of the snapshot.
    pub through: String,
    /// RFC 3339.
    pub at: String,
    /// `sidecar`, `verify` or `drill`.
    pub by: String,
    /// `bytes` or `restore`.
    pub how: String,
}

impl Status {
    pub(crate) fn etcd(cluster: &str, clock: &dyn Clock) -> Self {
        Self {
            format: 1,
            kind: "etcd".into(),
            app: String::new(),
            cluster: cluster.into(),
            name: cluster.into(),
            written: clock::format_unix_ms(clock.unix_ms()),
            last_point: None,
            size_bytes: 0,
            proven: None,
            drill: None,
        }
    }
}

/// Reads a JSON object; `None` when it provably is not there.
pub(crate) async fn read<T: DeserializeOwned>(store: &Store, key: &str) -> Result<Option<T>> {
    match small(store, key).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Damaged(format!("{key}: {error}"))),
        Err(Error::Store(error)) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a JSON object.
pub(crate) async fn write<T: Serialize>(store: &Store, key: &str, value: &T) -> Result<()> {
    let body = serde_json::to_vec_pretty(value).expect("plain fields serialise");
    let options = PutOptions { content_type: Some("application/json".into()), ..PutOptions::overwrite() };
    store.put(key, Bytes::from(body), &options).await?;
    Ok(())
}

/// Writes what is nice to have; a failure is told and does not fail the run.
pub(crate) async fn write_or_warn<T: Serialize>(store: &Store, key: &str, value: &T) {
    if let Err(error) = write(store, key, value).await {
        tracing::warn!(key, %error, "a status object could not be written");
    }
}

/// The last run of a cluster.
pub async fn last_run(store: &Store, cluster: &str) -> Result<Option<RunResult>> {
    read(store, &format!("{cluster}/{RESULT}")).await
}

pub(crate) async fn applied(store: &Store, cluster: &str) -> Result<Option<Applied>> {
    read(store, &format!("{cluster}/{POLICY}")).await
}
