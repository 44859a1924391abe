//! What a replica holds: numbers from one listing, heads and manifests read when asked for.
//!
//! P6: only a listing that succeeded proves an absence. Every commit names the newest snapshot before it, so the newest
//! snapshot costs one listing and at most two reads, however many claims lie behind it.

use crate::entry::Digest;
use crate::layout::{COMMITS, Seq, commit_key, parse_commit};
use crate::manifest::{CommitKind, Head, LARGEST_HEAD, Manifest, Object};
use crate::{Error, Result};
use bytes::Bytes;
use clock::UnixMs;
use futures::stream::{self, StreamExt, TryStreamExt};
use seal::Identities;
use store::Store;

/// Bytes read first when only a head is wanted; heads are rarely longer.
const HEAD_GUESS: u64 = 16 << 10;
/// Heads in flight.
const HEADS_AT_ONCE: usize = 8;

/// The numbers of a replica, ascending.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Every commit that is there.
    pub numbers: Vec<Seq>,
}

impl Catalogue {
    /// Lists the commits.
    pub async fn load(store: &Store) -> Result<Catalogue> {
        let mut listing = store.list(COMMITS, None);
        let mut numbers = Vec::new();
        while let Some(object) = listing.try_next().await? {
            numbers.extend(parse_commit(&object.key));
        }
        Ok(Catalogue { numbers })
    }

    /// The newest number; 0 for none.
    pub fn newest(&self) -> Seq {
        self.numbers.last().copied().unwrap_or(0)
    }

    /// The head of the newest snapshot; `None` if there is none.
    pub async fn newest_snapshot(&self, store: &Store) -> Result<Option<Head>> {
        let Some(number) = self.numbers.last().copied() else { return Ok(None) };
        let head = read_head(store, number).await?;
        match (head.kind, head.parent) {
            (CommitKind::Snapshot, _) => Ok(Some(head)),
            (CommitKind::Claim, 0) => Ok(None),
            (CommitKind::Claim, parent) => Ok(Some(read_head(store, parent).await?)),
        }
    }

    /// All heads, ascending; `known` gives those that need not be read.
    pub async fn heads(&self, store: &Store, known: impl Fn(Seq) -> Option<Head>) -> Result<Vec<Head>> {
        let known = &known;
        stream::iter(self.numbers.iter().copied())
            .map(|number| async move {
                match known(number) {
                    Some(head) => Ok(head),
                    None => read_head(store, number).await,
                }
            })
            .buffered(HEADS_AT_ONCE)
            .try_collect()
            .await
    }

    /// The newest snapshot committed at or before `at`.
    pub async fn snapshot_at(&self, store: &Store, at: UnixMs) -> Result<Head> {
        let heads = self.heads(store, |_| None).await?;
        let snapshots = heads.into_iter().filter(|h| h.kind == CommitKind::Snapshot);
        let mut oldest = None;
        let mut found = None;
        for head in snapshots {
            oldest.get_or_insert_with(|| head.time.clone());
            if head.unix_ms() <= at {
                found = Some(head);
            }
        }
        found.ok_or_else(|| Error::Nothing {
            what: format!("no snapshot at or before {}", clock::format_unix_ms(at)),
            hint: match oldest {
                Some(time) => format!("the oldest one is of {time}"),
                None => "the replica holds no snapshot".into(),
            },
        })
    }
}

/// Reads the head of a commit without its body.
pub async fn read_head(store: &Store, number: Seq) -> Result<Head> {
    let key = commit_key(number);
    let mut bound = HEAD_GUESS;
    loop {
        let got = store.get(&key, Some(0..bound)).await.map_err(missing(number))?;
        let whole = got.range.end >= got.meta.size;
        let bytes = got.bytes().await?;
        if let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            return Head::read(number, &bytes[..end]);
        }
        if whole || bound >= LARGEST_HEAD {
            return Err(Error::damaged(format!("{key}: it has no first line")));
        }
        bound *= 8;
    }
}

/// Reads a whole snapshot.
pub async fn read_manifest(
    store: &Store,
    number: Seq,
    identities: Option<&Identities>,
) -> Result<(Head, Manifest)> {
    let bytes = store.get_bytes(&commit_key(number), None).await.map_err(missing(number))?;
    let (head, body) = Head::decode(number, &bytes)?;
    let manifest = Manifest::decode(&head, body, identities)?;
    Ok((head, manifest))
}

/// Reads the newest snapshot whole; `None` if there is none. Most often one request, because most often the newest commit is it.
pub(crate) async fn read_newest(
    catalogue: &Catalogue,
    store: &Store,
    identities: Option<&Identities>,
) -> Result<Option<(Head, Manifest)>> {
    let Some(number) = catalogue.numbers.last().copied() else { return Ok(None) };
    let bytes = store.get_bytes(&commit_key(number), None).await.map_err(missing(number))?;
    let (head, body) = Head::decode(number, &bytes)?;
    match (head.kind, head.parent) {
        (CommitKind::Snapshot, _) => {
            let manifest = Manifest::decode(&head, body, identities)?;
            Ok(Some((head, manifest)))
        }
        (CommitKind::Claim, 0) => Ok(None),
        (CommitKind::Claim, parent) => read_manifest(store, parent, identities).await.map(Some),
    }
}

fn missing(number: Seq) -> impl FnOnce(store::Error) -> Error {
    move |error| match error {
        store::Error::NotFound { .. } => Error::Nothing {
            what: format!("there is no snapshot {number}"),
            hint: "restore list shows those that are there".into(),
        },
        other => other.into(),
    }
}

/// Reads an object that a commit refers to, and proves that it is the one that was written.
pub(crate) async fn read_object(store: &Store, object: &Object) -> Result<Bytes> {
    let bytes = fetch_object(store, object).await?;
    prove_object(object, &bytes)?;
    Ok(bytes)
}

/// The first half of [`read_object`].
pub(crate) async fn fetch_object(store: &Store, object: &Object) -> Result<Bytes> {
    match store.get_bytes(&object.key, None).await {
        Err(store::Error::NotFound { .. }) => Err(Error::damaged(format!("{} is missing", object.key))),
        other => Ok(other?),
    }
}

/// The second half, for a thread that has time for it.
pub(crate) fn prove_object(object: &Object, bytes: &[u8]) -> Result<()> {
    match bytes.len() as u64 == object.size && Digest::of(bytes) == object.sha256 {
        true => Ok(()),
        false => Err(Error::damaged(format!("{} is not what was stored", object.key))),
    }
}
