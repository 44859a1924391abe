//! Proof that a snapshot can be restored: everything it refers to is read back from the store and checksummed.
//!
//! Without a key the stored bytes are compared with the digests of the commit's first line; with one, every file is opened and
//! compared too. The result is recorded in `highwater/proven.json`: retention never crosses it (P3).

use crate::catalogue::{Catalogue, read_manifest};
use crate::entry::{Digest, Entry};
use crate::layout::{COMMITS, PACKS, PROVEN_KEY, STATUS_KEY, Seq, commit_key};
use crate::manifest::{CommitKind, Head, Object};
use crate::pack::unpack;
use crate::path::RelPath;
use crate::write::blocking;
use crate::{Error, Result, chest};
use clock::Clock;
use futures::stream::StreamExt;
use seal::Identities;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use store::{PutOptions, Store};

/// What was read back and checksummed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Version of this document.
    pub format: u32,
    /// Number of the snapshot, as text.
    pub through: String,
    /// When, RFC 3339.
    pub at: String,
    /// `sidecar`, `verify` or `drill`.
    pub by: String,
    /// `bytes`: stored bytes; `restore`: every file opened and compared.
    pub how: String,
}

impl Proven {
    /// The recorded proof; `None` is a proven absence.
    pub async fn load(store: &Store) -> Result<Option<Proven>> {
        match store.get_bytes(PROVEN_KEY, None).await {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| Error::damaged(format!("{PROVEN_KEY}: {e}"))),
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The snapshot it is about.
    pub fn number(&self) -> Option<Seq> {
        self.through.parse().ok()
    }
}

/// What a verification found.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// The snapshot.
    pub snapshot: Seq,
    /// When it was committed.
    pub time: String,
    /// Objects read back.
    pub objects: u64,
    /// Bytes read back.
    pub bytes: u64,
    /// Files that were opened and compared; 0 without a key.
    pub files: u64,
}

/// Reads one object back and compares it with its digest, in bounded memory.
pub(crate) async fn prove_object(store: &Store, object: &Object) -> Result<()> {
    let mut got = match store.get(&object.key, None).await {
        Err(store::Error::NotFound { .. }) => {
            return Err(Error::damaged(format!("{} is missing", object.key)));
        }
        other => other?,
    };
    let mut digesting = chest::Digesting::new(std::io::sink());
    while let Some(chunk) = got.stream.next().await {
        std::io::Write::write_all(&mut digesting, &chunk?).map_err(|e| Error::damaged(e.to_string()))?;
    }
    let (_, size, sha256) = digesting.digest();
    if size != object.size || sha256 != object.sha256 {
        return Err(Error::damaged(format!("{} is not what was stored", object.key)));
    }
    Ok(())
}

/// Proves one snapshot, the newest unless another is named.
pub async fn verify(
    store: &Store,
    number: Option<Seq>,
    identities: Option<Arc<Identities>>,
) -> Result<Verified> {
    let number = match number {
        Some(number) => number,
        None => newest(store).await?,
    };
    let bytes = store.get_bytes(&commit_key(number), None).await?;
    let (head, _) = Head::decode(number, &bytes)?;
    if head.kind == CommitKind::Claim {
        return Err(Error::Usage(format!("number {number} is a claim and no snapshot")));
    }
    let mut read = bytes.len() as u64;
    let mut files = 0;
    if head.sealed && identities.is_none() {
        for object in &head.objects {
            prove_object(store, object).await?;
            read += object.size;
        }
    } else {
        let (head, manifest) = read_manifest(store, number, identities.as_deref()).await?;
        let mut by_object: HashMap<u32, Vec<Entry>> = HashMap::new();
        for entry in manifest.entries {
            if let Some(object) = entry.content().and_then(|c| c.object) {
                by_object.entry(object).or_default().push(entry);
            }
        }
        for (at, object) in (0u32..).zip(manifest.objects) {
            read += object.size;
            let entries = by_object.remove(&at).unwrap_or_default();
            files += entries.len() as u64;
            if object.key.starts_with(PACKS) {
                let body = crate::catalogue::read_object(store, &object).await?;
                let (identities, sealed) = (identities.clone(), head.sealed);
                blocking(move || prove_pack(&object, &body, sealed, identities.as_deref(), entries)).await?;
            } else {
                prove_object(store, &object).await?;
            }
        }
    }
    Ok(Verified {
        snapshot: number,
        time: head.time,
        objects: head.objects.len() as u64 + 1,
        bytes: read,
        files,
    })
}

async fn newest(store: &Store) -> Result<Seq> {
    let catalogue = Catalogue::load(store).await?;
    let head = catalogue.newest_snapshot(store).await?;
    head.map(|h| h.number).ok_or_else(|| Error::Nothing {
        what: format!("there is no snapshot below {COMMITS}"),
        hint: "nothing was ever committed".into(),
    })
}

fn prove_pack(
    object: &Object,
    body: &[u8],
    sealed: bool,
    identities: Option<&Identities>,
    entries: Vec<Entry>,
) -> Result<()> {
    let mut wanted: HashMap<RelPath, Vec<Digest>> = HashMap::new();
    for entry in entries {
        let Some(content) = entry.content() else { continue };
        let member = content.member.clone().unwrap_or_else(|| entry.path.clone());
        wanted.entry(member).or_default().push(content.sha256);
    }
    unpack(object, body, sealed, identities, |name, bytes| {
        let digests = wanted.remove(&name).unwrap_or_default();
        digests.iter().try_for_each(|want| crate::pack::prove(&object.key, &name, bytes, want))
    })?;
    match wanted.keys().next() {
        Some(missing) => Err(Error::damaged(format!("{} does not hold {missing}", object.key))),
        None => Ok(()),
    }
}

/// Records a proof, and the status for the exporter beside it: two PUTs, never while idle. A later proof is never replaced.
pub async fn record(store: &Store, verified: &Verified, by: &str, clock: &dyn Clock) -> Result<()> {
    if let Some(known) = Proven::load(store).await?.and_then(|p| p.number())
        && known > verified.snapshot
    {
        return Ok(());
    }
    let at = clock::format_unix_ms(clock.unix_ms());
    let how = if verified.files > 0 { "restore" } else { "bytes" };
    let proven = Proven {
        format: 1,
        through: verified.snapshot.to_string(),
        at: at.clone(),
        by: by.into(),
        how: how.into(),
    };
    put_json(store, PROVEN_KEY, &proven).await?;
    let repo = crate::Repo::load(store).await?.map(|r| r.identity).unwrap_or_default();
    let status = serde_json::json!({
        "format": 1, "kind": "files", "app": repo.app, "cluster": repo.cluster, "name": repo.tree,
        "written": at, "last_point": verified.time, "size_bytes": verified.bytes, "proven": at, "drill": null,
    });
    put_json(store, STATUS_KEY, &status).await
}

pub(crate) async fn put_json(store: &Store, key: &str, value: &impl Serialize) -> Result<()> {
    let body = serde_json::to_vec_pretty(value).expect("plain fields serialise");
    let options = PutOptions { content_type: Some("application/json".into()), ..PutOptions::overwrite() };
    store.put(key, body.into(), &options).await?;
    Ok(())
}
