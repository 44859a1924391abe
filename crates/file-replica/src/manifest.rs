//! A commit: the head in the clear, and behind it the tree.
//!
//! An object `m/<number>` is one line of JSON (the [`Head`]) and, for a snapshot, the [`Manifest`] as JSON inside zstd, inside age
//! where the replica is sealed. So one PUT commits both, and a pod that has only public keys can plan retention and prove bytes
//! (trap 12), while names and contents stay secret. The head repeats what the body says; a reader of the body compares them.
//! By hand: `head -n 1 m/… | jq`, `tail -n +2 m/… | age -d -i key | zstd -d | jq`.

use crate::chest;
use crate::entry::{Digest, Entry, Kind};
use crate::layout::{Seq, commit_key, is_data};
use crate::path::RelPath;
use crate::{Error, Result};
use clock::UnixMs;
use seal::{Identities, Protection};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Version of commits that this code reads and writes.
pub(crate) const FORMAT: u32 = 1;
/// A body of 200,000 entries is below this (P7).
const LARGEST_BODY: u64 = 256 << 20;
/// A head is below this.
pub(crate) const LARGEST_HEAD: u64 = 8 << 20;

/// An object that commits refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its key: `p/…` a pack of small files, `b/…` one big file.
    pub key: String,
    /// Stored bytes.
    pub size: u64,
    /// SHA-256 of the stored bytes: provable without a key.
    pub sha256: Digest,
    /// Bytes of file content inside.
    pub raw: u64,
}

/// What a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitKind {
    /// The number was taken by a writer at its start (P4); no tree.
    Claim,
    /// A tree.
    Snapshot,
}

/// The first line of a commit; everything that must be known without a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Version of the format.
    pub format: u32,
    /// Claim or snapshot.
    pub kind: CommitKind,
    /// Number of this commit; as in its key.
    pub number: Seq,
    /// Id of the history, 16 hex digits.
    pub lineage: String,
    /// Number of the claim under which it was written.
    pub epoch: Seq,
    /// Unique for this write.
    pub write_id: String,
    /// Newest snapshot before this one; 0 if there was none.
    pub parent: Seq,
    /// When, RFC 3339; never earlier than the parent's.
    pub time: String,
    /// Entries of the tree.
    pub entries: u64,
    /// Bytes of file content of the tree.
    pub bytes: u64,
    /// Files whose bytes are those of an earlier snapshot.
    pub unstable: u64,
    /// Whether body and objects are sealed.
    pub sealed: bool,
    /// Every object the tree needs.
    pub objects: Vec<Object>,
    /// SHA-256 of the stored body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<Digest>,
}

/// The tree of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Number of this commit.
    pub number: Seq,
    /// Id of the history.
    pub lineage: String,
    /// Number of the claim.
    pub epoch: Seq,
    /// Unique for this write.
    pub write_id: String,
    /// Newest snapshot before this one.
    pub parent: Seq,
    /// When, RFC 3339.
    pub time: String,
    /// Name and version of the writer.
    pub writer: String,
    /// Where the tree came from, if not from a writer: `rclone-mirror <url>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// SHA-256 of the exclude patterns: what a filter took away was not deleted.
    pub excludes: Digest,
    /// Every object the tree needs.
    pub objects: Vec<Object>,
    /// In the order of their paths.
    pub entries: Vec<Entry>,
}

impl Head {
    /// When, in Unix ms.
    pub fn unix_ms(&self) -> UnixMs {
        clock::parse_unix_ms(&self.time).unwrap_or(0)
    }

    /// The head of a claim.
    pub(crate) fn claim(number: Seq, lineage: &str, write_id: String, parent: Seq, time: String) -> Head {
        Head {
            format: FORMAT,
            kind: CommitKind::Claim,
            number,
            lineage: lineage.to_owned(),
            epoch: number,
            write_id,
            parent,
            time,
            entries: 0,
            bytes: 0,
            unstable: 0,
            sealed: false,
            objects: vec![],
            body_sha256: None,
        }
    }

    /// The bytes of a commit without a body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("plain fields serialise");
        line.push(b'\n');
        line
    }

    /// Splits a commit into its head and stored body, and proves what can be proven without a key.
    pub(crate) fn decode(number: Seq, bytes: &[u8]) -> Result<(Head, &[u8])> {
        let key = commit_key(number);
        let end = bytes.iter().position(|b| *b == b'\n');
        let end = end.ok_or_else(|| Error::damaged(format!("{key}: it has no first line")))?;
        let head = Head::read(number, &bytes[..end])?;
        let body = &bytes[end + 1..];
        match &head.body_sha256 {
            Some(digest) if *digest != Digest::of(body) => {
                Err(Error::damaged(format!("{key}: the body is not the one that was written")))
            }
            None if !body.is_empty() => Err(Error::damaged(format!("{key}: a body that its head denies"))),
            _ => Ok((head, body)),
        }
    }

    /// Reads a head alone.
    pub(crate) fn read(number: Seq, line: &[u8]) -> Result<Head> {
        let key = commit_key(number);
        let version: Version = serde_json::from_slice(line)
            .map_err(|e| Error::damaged(format!("{key}: its first line: {e}")))?;
        if version.format > FORMAT {
            return Err(Error::refused(
                format!("{key} has format {}, this program knows {FORMAT}", version.format),
                "use a newer version",
            ));
        }
        let head: Head = serde_json::from_slice(line)
            .map_err(|e| Error::damaged(format!("{key}: its first line: {e}")))?;
        if head.number != number {
            return Err(Error::damaged(format!("{key}: it says that it is number {}", head.number)));
        }
        if let Some(object) =
            head.objects.iter().find(|o| !is_data(&o.key) || store::check_key(&o.key).is_err())
        {
            return Err(Error::damaged(format!("{key}: it refers to {:?}", object.key)));
        }
        Ok(head)
    }
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Manifest {
    /// When, in Unix ms.
    pub fn unix_ms(&self) -> UnixMs {
        clock::parse_unix_ms(&self.time).unwrap_or(0)
    }

    /// Bytes of file content.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::size).sum()
    }

    /// Files whose bytes are those of an earlier snapshot.
    pub fn unstable(&self) -> u64 {
        self.entries.iter().filter(|e| e.content().is_some_and(|c| c.unstable)).count() as u64
    }

    /// The entry at a path.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.binary_search_by(|e| e.path.cmp(path)).ok().map(|at| &self.entries[at])
    }

    fn head(&self, sealed: bool, body: &[u8]) -> Head {
        Head {
            format: self.format,
            kind: CommitKind::Snapshot,
            number: self.number,
            lineage: self.lineage.clone(),
            epoch: self.epoch,
            write_id: self.write_id.clone(),
            parent: self.parent,
            time: self.time.clone(),
            entries: self.entries.len() as u64,
            bytes: self.bytes(),
            unstable: self.unstable(),
            sealed,
            objects: self.objects.clone(),
            body_sha256: Some(Digest::of(body)),
        }
    }

    /// The bytes of the commit, and its head.
    pub(crate) fn encode(&self, protection: &Protection) -> Result<(Vec<u8>, Head)> {
        let body = chest::close(self, protection, &commit_key(self.number))?;
        let head = self.head(matches!(protection, Protection::Sealed(_)), &body);
        let mut bytes = head.encode();
        bytes.extend_from_slice(&body);
        Ok((bytes, head))
    }

    /// Reads the body of a commit and compares it with its head.
    pub(crate) fn decode(head: &Head, body: &[u8], identities: Option<&Identities>) -> Result<Manifest> {
        let key = commit_key(head.number);
        if head.kind == CommitKind::Claim {
            return Err(Error::damaged(format!("{key} is a claim and has no tree")));
        }
        let manifest: Manifest = chest::open_document(body, head.sealed, identities, LARGEST_BODY, &key)?;
        if manifest.head(head.sealed, body) != *head {
            return Err(Error::damaged(format!("{key}: head and body say different things")));
        }
        manifest.check().map_err(|why| Error::damaged(format!("{key}: {why}")))?;
        Ok(manifest)
    }

    /// What every tree must be, whoever wrote it: ordered, each path once, nothing below what is no directory, every reference
    /// inside the list of objects.
    fn check(&self) -> Result<(), String> {
        let mut dirs: HashSet<&[u8]> = HashSet::new();
        let mut last: Option<&RelPath> = None;
        for entry in &self.entries {
            if last.is_some_and(|last| *last >= entry.path) {
                return Err(format!("{} is out of order", entry.path));
            }
            last = Some(&entry.path);
            if entry.path.parent_bytes().is_some_and(|parent| !dirs.contains(parent)) {
                return Err(format!("{} lies below what is not a directory", entry.path));
            }
            if entry.is_dir() {
                dirs.insert(entry.path.as_bytes());
            }
            if let Kind::File(content) = &entry.kind {
                match content.object {
                    None if content.size > 0 => {
                        return Err(format!("{} has bytes and no object", entry.path));
                    }
                    Some(at) if at as usize >= self.objects.len() => {
                        return Err(format!(
                            "{} refers to object {at} of {}",
                            entry.path,
                            self.objects.len()
                        ));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
