//! Every snapshot of a replica as one line: what `list` shows, read from the heads alone, so that nobody needs a key.

use crate::catalogue::Catalogue;
use crate::manifest::{CommitKind, Head};
use crate::repo::Repo;
use crate::verify::Proven;
use crate::{Error, Result};
use serde::Serialize;
use store::Store;

/// One snapshot; the field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its number.
    pub snapshot: u64,
    /// When it was committed, RFC 3339.
    pub time: String,
    /// Number of the claim under which it was written.
    pub claim: u64,
    /// Entries of the tree.
    pub entries: u64,
    /// Bytes of content of the tree.
    pub bytes: u64,
    /// Objects a restore reads.
    pub objects: u64,
    /// Files whose bytes are those of an earlier snapshot.
    pub unstable: u64,
    /// Whether a secret key is needed.
    pub sealed: bool,
    /// Everything up to here has been read back and found whole.
    pub proven: bool,
}

impl Point {
    /// The line of one head; `through` is the newest snapshot that is proven.
    pub fn of(head: &Head, through: Option<u64>) -> Point {
        Point {
            snapshot: head.number,
            time: head.time.clone(),
            claim: head.epoch,
            entries: head.entries,
            bytes: head.bytes,
            objects: head.objects.len() as u64,
            unstable: head.unstable,
            sealed: head.sealed,
            proven: through.is_some_and(|through| head.number <= through),
        }
    }
}

/// All snapshots, ascending. A replica must be there: an empty answer for a mistyped URL would look like an empty replica.
pub async fn points(store: &Store) -> Result<Vec<Point>> {
    if Repo::load(store).await?.is_none() {
        return Err(Error::Nothing {
            what: "there is no replica of files here".into(),
            hint: "check the URL".into(),
        });
    }
    let heads = Catalogue::load(store).await?.heads(store, |_| None).await?;
    let through = Proven::load(store).await?.and_then(|p| p.number());
    Ok(heads.iter().filter(|h| h.kind == CommitKind::Snapshot).map(|h| Point::of(h, through)).collect())
}
