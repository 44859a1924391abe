//! One proven snapshot to one destination: object, read back, token, manifest; in this order.

use super::{Destination, Proof, ShipOptions};
use crate::layout::{Name, Part, Slot};
use crate::manifest::{FORMAT, Manifest};
use crate::opening::digest_stored;
use crate::proof::Verdict;
use crate::source::Taken;
use crate::upload::{Stored, upload};
use crate::{Error, Result, token};
use bytes::Bytes;
use seal::Protection;
use store::PutOptions;

/// Clocks that differ by more than this make a snapshot suspect.
const SUSPECT_MS: i64 = 300_000;

/// What is in the store before its manifest.
struct Shipped {
    object: String,
    bytes: u64,
    sha256: String,
    read_back: bool,
    token: Option<String>,
}

/// Uploads, reads back, and writes the manifest last: without one an object is no backup.
pub(super) async fn deliver(
    destination: &Destination,
    options: &ShipOptions,
    taken: &Taken,
    proof: &Proof,
) -> Result<Manifest> {
    let store = &destination.store;
    let received = &taken.received;
    let sha256 = hex::encode(received.sha256);
    let mut name = Name {
        cluster: options.cluster.clone(),
        slot: Slot::Daily,
        taken: taken.taken_ms / 1_000,
        revision: proof.content.revision,
        digest: sha256[..8].to_owned(),
    };
    let full = name.to_string();
    let day = full.rsplit_once('/').map_or("", |(day, _)| day);
    if !store.list_all(&format!("{day}/")).await?.is_empty() {
        name.slot = Slot::Recent;
    }
    let sealed = matches!(options.protection, Protection::Sealed(_));
    let object = name.key(if sealed { Part::Sealed } else { Part::Plain });
    let Stored { bytes, sha256: stored_sha256 } =
        upload(store, &object, received, &options.protection).await?;
    let read_back = match digest_stored(store, &object).await {
        Ok(found) if found == (bytes, stored_sha256.clone()) => true,
        Ok((length, _)) => {
            return Err(Error::Damaged(format!(
                "{object}: {bytes} bytes were sent and {length} other ones came back; no manifest was written"
            )));
        }
        Err(Error::Store(store::Error::Denied { .. })) => {
            tracing::warn!(
                object,
                "this credential cannot read: the proof must come from outside (etcd-shipper verify)"
            );
            false
        }
        Err(error) => return Err(error),
    };
    let token = match &options.token {
        Some(token) => {
            let key = name.key(Part::Token);
            let body = token::seal(token, &options.protection)?;
            store.put(&key, Bytes::from(body), &PutOptions::overwrite()).await?;
            Some(key)
        }
        None => None,
    };
    let shipped = Shipped { object, bytes, sha256: stored_sha256, read_back, token };
    let manifest = describe(options, taken, proof, shipped, store.server_date_skew());
    let body = serde_json::to_vec_pretty(&manifest).expect("plain fields serialise");
    let create = PutOptions { content_type: Some("application/json".into()), ..PutOptions::create() };
    store.put(&name.key(Part::Manifest), Bytes::from(body), &create).await?;
    Ok(manifest)
}

fn describe(
    options: &ShipOptions,
    taken: &Taken,
    proof: &Proof,
    shipped: Shipped,
    skew: Option<i64>,
) -> Manifest {
    let content = &proof.content;
    let equal = proof.hashkv.verdict == Verdict::Equal;
    Manifest {
        format: FORMAT,
        tool: options.tool.clone(),
        cluster: options.cluster.clone(),
        kube_system_uid: content.kube_system_uid.clone(),
        taken_at: clock::format_unix_ms(taken.taken_ms / 1_000 * 1_000),
        store_skew_ms: skew,
        clock_suspect: skew.is_some_and(|ms| ms.abs() > SUSPECT_MS),
        origin: taken.origin.clone(),
        stream_seconds: taken.stream_seconds,
        revision: content.revision,
        compact_revision: content.compact_revision,
        storage_version: content.storage_version.clone(),
        raft_term: content.term,
        raft_index: content.consistent_index,
        body_bytes: taken.received.body,
        body_sha256: hex::encode(taken.received.sha256),
        trailer_added: !taken.received.trailer,
        status_hash: format!("{:08x}", content.status_hash),
        keys: content.keys,
        entries: content.entries,
        resources: content.resources.clone(),
        hashkv: proof.hashkv.clone(),
        object: shipped.object,
        stored_bytes: shipped.bytes,
        stored_sha256: shipped.sha256,
        recipients: match &options.protection {
            Protection::Sealed(recipients) => recipients.texts(),
            Protection::Plain => Vec::new(),
        },
        token: shipped.token,
        token_opens: proof.token_opens,
        level: if shipped.read_back { 4 } else { 2 + u8::from(equal) },
        read_back: shipped.read_back,
    }
}
