//! What is in a snapshot: two walks, or a few more where a cluster has very many rows.
//!
//! The first walk covers everything; it proves the structure and gathers revision, the hash that `etcdutl snapshot status` prints, whose cluster it
//! is, and which row of a key is its newest ([`super::newest`]). The second needs that: it counts keys per resource and computes HashKV. What a
//! snapshot costs to prove is what it costs to read, so both are done in one.

use super::Shape;
use super::hashkv::Hashing;
use super::kubernetes::{self, BOOTSTRAP, KUBE_SYSTEM};
use super::newest::{KEYS_PER_PASS, Kept, Newest, number};
use super::row::{KEY_BUCKET, META_BUCKET, Row, main_revision};
use super::wire::Fields;
use crate::bolt::{Entry, ReadAt, Tree, Walked};
use crate::{Error, Result};
use crc_fast::{CrcAlgorithm, Digest};
use std::collections::BTreeMap;

/// Key of the revision up to which the history is compacted.
const COMPACTED: &[u8] = b"scheduledCompactRev";
/// Most different resources that are counted by name.
const MAX_RESOURCES: usize = 2_000;
/// Where the others are counted.
const OTHERS: &str = "(others)";

/// What a snapshot holds.
#[derive(Debug, Clone)]
pub struct Content {
    /// Newest revision.
    pub revision: i64,
    /// Revision to which the history was compacted; -1 if it never was.
    pub compact_revision: i64,
    /// What `etcdutl snapshot status` prints as hash.
    pub status_hash: u32,
    /// Entries of all buckets: what 3.4's `snapshot status` prints as total keys.
    pub entries: u64,
    /// Keys that exist at [`Self::revision`]: what 3.5 and later print.
    pub keys: u64,
    /// Existing keys per Kubernetes resource.
    pub resources: BTreeMap<String, u64>,
    /// UID of the namespace kube-system: whose cluster this is.
    pub kube_system_uid: Option<String>,
    /// Name of the K3s bootstrap data and its sealed bytes.
    pub bootstrap: Option<(String, Vec<u8>)>,
    /// Storage version that the file states (3.6 and later), or the oldest that its keys imply.
    pub storage_version: String,
    /// Raft term, where the file has one.
    pub term: Option<u64>,
    /// Raft index up to which the file is applied.
    pub consistent_index: Option<u64>,
    /// Pages that are in use.
    pub pages: u64,
    /// HashKV at [`Self::revision`] for each compact revision that was asked for.
    pub hashes: BTreeMap<i64, u32>,
}

struct Gather {
    crc: Digest,
    rows: u64,
    revision: i64,
    newest: Option<Newest>,
    limit: usize,
    meta: BTreeMap<Vec<u8>, Vec<u8>>,
    uid: Option<String>,
    bootstrap: Option<(String, Vec<u8>)>,
}

/// Walks the whole snapshot; see the module. HashKV is computed for each of these compact revisions.
pub fn prove(file: &dyn ReadAt, shape: &Shape, compacted: &[i64]) -> Result<Content> {
    prove_within(file, shape, compacted, KEYS_PER_PASS)
}

pub(crate) fn prove_within(
    file: &dyn ReadAt,
    shape: &Shape,
    compacted: &[i64],
    limit: usize,
) -> Result<Content> {
    let tree = Tree::new(file, shape.meta);
    let mut gather = Gather {
        crc: Digest::new(CrcAlgorithm::Crc32Iscsi),
        rows: 0,
        revision: 0,
        newest: Some(Newest::default()),
        limit,
        meta: BTreeMap::new(),
        uid: None,
        bootstrap: None,
    };
    // Both closures update the same hash; the cell lets them take turns.
    let cell = std::cell::RefCell::new(&mut gather);
    let walked = tree.walk(&mut |bucket| cell.borrow_mut().crc.update(bucket), &mut |entry| {
        cell.borrow_mut().entry(entry)
    })?;
    gather.finish(&tree, walked, compacted)
}

impl Gather {
    fn entry(&mut self, entry: Entry<'_>) -> Result<()> {
        self.crc.update(entry.key);
        self.crc.update(entry.value);
        if entry.bucket == META_BUCKET && entry.value.len() <= 4096 && self.meta.len() < 64 {
            self.meta.insert(entry.key.to_vec(), entry.value.to_vec());
        }
        if entry.bucket != KEY_BUCKET {
            return Ok(());
        }
        let row = Row::read(entry.key, entry.value)?;
        let number = number(self.rows)?;
        self.rows += 1;
        self.revision = row.main;
        self.look(&row, entry.value);
        if self.newest.as_mut().is_some_and(|newest| !newest.add(&row, number, self.limit)) {
            self.newest = None;
        }
        Ok(())
    }

    fn look(&mut self, row: &Row<'_>, value: &[u8]) {
        if row.user_key == KUBE_SYSTEM {
            self.uid = Fields::bytes(value, 5).filter(|_| !row.tombstone).and_then(kubernetes::uid);
        } else if let Some(name) = row.user_key.strip_prefix(BOOTSTRAP) {
            let name = String::from_utf8_lossy(name).into_owned();
            match Fields::bytes(value, 5).filter(|_| !row.tombstone) {
                // K3s writes an empty lock beside the data; CA bundles are some 50 KiB.
                Some(data) if !data.is_empty() && data.len() <= 1 << 20 => {
                    self.bootstrap = Some((name, data.to_vec()));
                }
                _ => {
                    if self.bootstrap.as_ref().is_some_and(|(known, _)| *known == name) {
                        self.bootstrap = None;
                    }
                }
            }
        }
    }

    fn finish(self, tree: &Tree<'_>, walked: Walked, compacted: &[i64]) -> Result<Content> {
        let kept = Kept::of(tree, self.rows, self.newest, self.limit)?;
        let Counted { keys, resources, hashing } = Counted::of(tree, &kept, compacted)?;
        let number = |name: &str| {
            let bytes = self.meta.get(name.as_bytes())?;
            Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?))
        };
        let compacted = self.meta.get(COMPACTED).map(|key| main_revision(key)).transpose()?;
        let storage_version = match self.meta.get(&b"storageVersion"[..]) {
            Some(version) => String::from_utf8_lossy(version).chars().take(32).collect(),
            None if self.meta.contains_key(&b"term"[..]) => "3.5".to_owned(),
            None => "3.4 or older".to_owned(),
        };
        Ok(Content {
            revision: self.revision,
            compact_revision: compacted.unwrap_or(-1),
            status_hash: u32::try_from(self.crc.finalize()).expect("a CRC-32 has 32 bits"),
            entries: walked.entries,
            keys,
            resources,
            kube_system_uid: self.uid,
            bootstrap: self.bootstrap,
            storage_version,
            term: number("term"),
            consistent_index: number("consistent_index"),
            pages: walked.pages,
            hashes: hashing.finish(),
        })
    }
}

/// What the second walk finds.
struct Counted {
    keys: u64,
    resources: BTreeMap<String, u64>,
    hashing: Hashing,
}

impl Counted {
    fn of(tree: &Tree<'_>, kept: &Kept, compacted: &[i64]) -> Result<Self> {
        let mut counted = Self { keys: 0, resources: BTreeMap::new(), hashing: Hashing::new(compacted) };
        let mut index = 0;
        tree.walk_bucket(KEY_BUCKET, &mut |entry| {
            let (row, newest) = (Row::read(entry.key, entry.value)?, kept.has(index));
            if newest {
                counted.keys += 1;
                counted.resource(&row);
            }
            counted.hashing.row(&row, &entry, newest, kept.any());
            index += 1;
            Ok(())
        })?;
        Ok(counted)
    }

    fn resource(&mut self, row: &Row<'_>) {
        let Some(name) = kubernetes::resource(row.user_key) else { return };
        let name = if self.resources.len() < MAX_RESOURCES { name } else { OTHERS };
        match self.resources.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.resources.insert(name.to_owned(), 1)),
        }
    }
}

/// The newest revision of a file, read from the right edge of its tree: cheap enough to be asked before anything else.
pub(crate) fn newest_revision(file: &dyn ReadAt, shape: &Shape) -> Result<i64> {
    match Tree::new(file, shape.meta).last_key(KEY_BUCKET)? {
        Some(key) => main_revision(&key),
        None => Err(Error::damaged("the snapshot holds no revision at all")),
    }
}

/// The revision that a server over this file is at. A deletion may have been the newest write and been compacted away: then no row has that
/// revision any more, and only the compaction tells that it was reached.
pub(crate) fn reached_revision(file: &dyn ReadAt, shape: &Shape) -> Result<i64> {
    let mut compacted = 0;
    Tree::new(file, shape.meta).walk_bucket(META_BUCKET, &mut |entry| {
        if entry.key == COMPACTED {
            compacted = main_revision(entry.value)?;
        }
        Ok(())
    })?;
    Ok(newest_revision(file, shape)?.max(compacted))
}
