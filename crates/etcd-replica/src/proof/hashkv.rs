//! HashKV: the content of a file compared with the content of live members.
//!
//! etcd answers `HashKV(R)` with a CRC-32C over the word `key` and every row up to R that a compaction at its own
//! compact revision C leaves: rows above C, and of those up to C the newest of each key unless that is a deletion; a
//! deletion exactly at C is left out. R is the file's revision, C the one that the member states with its answer.
//! Equal hashes prove that the file holds what the member holds. Unequal ones at the same C mean that one of the two is
//! corrupt. No answer, `compacted` and `future revision` mean that nothing is known, never that all is well (P6).

use super::row::{KEY_BUCKET, Row};
use crate::Result;
use crate::bolt::Tree;
use crc_fast::{CrcAlgorithm, Digest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// What the members say about the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// At least one member was compared, and all that were are equal.
    Equal,
    /// A member differs: it or the snapshot is corrupt.
    Mismatch,
    /// Nobody could be compared.
    Unknown,
}

impl Verdict {
    /// The value of the metric: 1, 0, or -1 for unknown.
    pub fn as_metric(self) -> f64 {
        match self {
            Self::Equal => 1.0,
            Self::Mismatch => 0.0,
            Self::Unknown => -1.0,
        }
    }
}

/// The answer of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberHash {
    /// Member id, 16 hex digits; empty when it could not be asked.
    pub member: String,
    /// Where it was asked.
    pub endpoint: String,
    /// Its hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<u32>,
    /// Its compact revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact_revision: Option<i64>,
    /// Compared with the file.
    pub verdict: Verdict,
    /// Why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// All answers, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashKv {
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// One per member that is known.
    pub members: Vec<MemberHash>,
}

impl HashKv {
    /// Nobody was asked, and why.
    pub fn unknown(why: &str) -> Self {
        let member = MemberHash {
            member: String::new(),
            endpoint: String::new(),
            hash: None,
            compact_revision: None,
            verdict: Verdict::Unknown,
            why: Some(why.to_owned()),
        };
        Self { verdict: Verdict::Unknown, members: vec![member] }
    }

    /// Compares the answers with what the file gives for each compact revision.
    pub fn judge(mut members: Vec<MemberHash>, file: &BTreeMap<i64, u32>) -> Self {
        for member in &mut members {
            let ours = member.compact_revision.and_then(|at| file.get(&at));
            member.verdict = match (member.hash, ours) {
                (Some(theirs), Some(ours)) if theirs == *ours => Verdict::Equal,
                (Some(_), Some(_)) => Verdict::Mismatch,
                _ => Verdict::Unknown,
            };
        }
        let any = |verdict| members.iter().any(|member| member.verdict == verdict);
        let verdict = if any(Verdict::Mismatch) {
            Verdict::Mismatch
        } else if any(Verdict::Equal) {
            Verdict::Equal
        } else {
            Verdict::Unknown
        };
        Self { verdict, members }
    }
}

/// Which rows hold the newest revision of a key that exists: one bit per row.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    bits: Vec<u64>,
    any: bool,
}

impl Kept {
    pub(crate) fn new(rows: u64) -> Self {
        Self {
            bits: vec![0; usize::try_from(rows / 64 + 1).expect("rows were counted in memory")],
            any: false,
        }
    }

    pub(crate) fn keep(&mut self, newest: &HashMap<u128, (u32, bool)>) {
        for (row, tombstone) in newest.values() {
            if !tombstone {
                self.bits[*row as usize / 64] |= 1 << (row % 64);
                self.any = true;
            }
        }
    }

    pub(crate) fn is_kept(&self, row: u64) -> bool {
        self.bits.get((row / 64) as usize).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }
}

pub(crate) fn recompute(tree: &Tree<'_>, kept: &Kept, compacted: &[i64]) -> Result<BTreeMap<i64, u32>> {
    let mut hashes: BTreeMap<i64, Digest> = BTreeMap::new();
    for at in compacted.iter().take(16) {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(KEY_BUCKET);
        hashes.insert(*at, digest);
    }
    let mut index = 0;
    tree.walk_bucket(KEY_BUCKET, &mut |entry| {
        let row = Row::read(entry.key, entry.value)?;
        for (at, digest) in &mut hashes {
            let gone = row.main <= *at && kept.any && !kept.is_kept(index);
            let just_deleted = row.tombstone && row.main == *at;
            if !gone && !just_deleted {
                digest.update(entry.key);
                digest.update(entry.value);
            }
        }
        index += 1;
        Ok(())
    })?;
    let done = |(at, digest): (i64, Digest)| (at, digest.finalize() as u32);
    Ok(hashes.into_iter().map(done).collect())
}
