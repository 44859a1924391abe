//! `etcd-shipper list`.

use crate::cli::{List, Which};
use crate::failed;
use door::{Failure, print};
use etcd_replica::{Catalogue, resolve};
use serde::Serialize;
use store::{OpenConfig, Store};
use telemetry::Exit;

/// One line of the list; the field names are an interface.
#[derive(Serialize)]
struct Row {
    name: String,
    taken: String,
    state: &'static str,
    level: u8,
    revision: i64,
    keys: u64,
    body_bytes: u64,
    stored_bytes: u64,
    hashkv: String,
    status_hash: String,
    sealed: bool,
    pinned: bool,
}

pub(crate) async fn open(which: &Which) -> Result<(Store, String), Failure> {
    let store = store::open(&which.url, OpenConfig::default()).await.map_err(|error| failed(error.into()))?;
    let cluster = resolve(&store, which.cluster.as_deref()).await.map_err(failed)?;
    Ok((store, cluster))
}

pub(crate) async fn run(args: List) -> Result<Exit, Failure> {
    let (store, cluster) = open(&args.which).await?;
    let catalogue = Catalogue::load(&store, &cluster).await.map_err(failed)?;
    let rows: Vec<Row> = catalogue
        .items
        .iter()
        .map(|item| {
            let manifest = item.manifest.as_ref();
            Row {
                name: item.name.to_string(),
                taken: clock::format_unix_ms(item.name.taken * 1_000),
                state: match (item.is_verified(), item.is_failed(), manifest) {
                    (true, ..) => "proven",
                    (_, true, _) => "failed",
                    (.., Some(_)) => "unproven",
                    _ => "partial",
                },
                level: item.level(),
                revision: item.name.revision,
                keys: manifest.map_or(0, |m| m.keys),
                body_bytes: manifest.map_or(0, |m| m.body_bytes),
                stored_bytes: item.payload.as_ref().map_or(0, |payload| payload.size),
                hashkv: manifest
                    .map_or_else(String::new, |m| format!("{:?}", m.hashkv.verdict).to_lowercase()),
                status_hash: manifest.map_or_else(String::new, |m| m.status_hash.clone()),
                sealed: manifest.is_some_and(|m| !m.recipients.is_empty()),
                pinned: item.pinned,
            }
        })
        .collect();
    print(args.which.output, &rows, |rows| {
        let mut text = format!(
            "{:<20}  {:<8}  {:>5}  {:>12}  {:>8}  {:>12}  {:<8}  NAME\n",
            "TAKEN", "STATE", "LEVEL", "REVISION", "KEYS", "STORED", "HASHKV"
        );
        for row in rows {
            text += &format!(
                "{:<20}  {:<8}  {:>5}  {:>12}  {:>8}  {:>12}  {:<8}  {}{}\n",
                row.taken,
                row.state,
                row.level,
                row.revision,
                row.keys,
                row.stored_bytes,
                row.hashkv,
                row.name,
                if row.pinned { " (pinned)" } else { "" }
            );
        }
        text
    });
    for key in &catalogue.foreign {
        tracing::debug!(key, "foreign object");
    }
    if !catalogue.foreign.is_empty() {
        eprintln!(
            "etcd-shipper: {} objects below {cluster}/ are not ours and never touched",
            catalogue.foreign.len()
        );
    }
    if rows.is_empty() {
        return Err(Failure::new(Exit::Refused, format!("no snapshot of cluster {cluster} is here")));
    }
    Ok(Exit::Done)
}
