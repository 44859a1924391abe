//! HashKV: the content of a file compared with the content of live members.
//!
//! etcd answers `HashKV(R)` with a CRC-32C over the word `key` and every row up to R that a compaction at its own
//! compact revision C leaves: rows above C, and of those up to C the newest of each key unless that is a deletion; a
//! deletion exactly at C is left out. R is the file's revision, C the one that the member states with its answer.
//! Equal hashes prove that the file holds what the member holds. Unequal ones at the same C mean that one of the two is
//! corrupt. No answer, `compacted` and `future revision` mean that nothing is known, never that all is well (P6). Nor is anything known where C
//! is below the compaction that the file has behind it: the rows between the two are gone from it. etcd 3.5.35 and 3.6.16, asked for the
//! very revision they compacted to, answer with the hash that they took while they compacted, and with the C before; 3.4 does not.

use super::row::{KEY_BUCKET, Row};
use crate::bolt::Entry;
use crc_fast::{CrcAlgorithm, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

    /// Compares the answers with what the file, which is compacted to `compacted` (-1: never), gives for each compact revision.
    pub fn judge(mut members: Vec<MemberHash>, file: &BTreeMap<i64, u32>, compacted: i64) -> Self {
        for member in &mut members {
            let ours = member.compact_revision.and_then(|at| file.get(&at));
            member.verdict = match (member.hash, ours) {
                (Some(theirs), Some(ours)) if theirs == *ours => Verdict::Equal,
                (Some(_), Some(_)) if member.compact_revision < Some(compacted) => {
                    let why = format!(
                        "its answer counts rows that the snapshot's compaction to {compacted} removed"
                    );
                    member.why = Some(why);
                    Verdict::Unknown
                }
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

/// The hashes at the file's revision for each of some compact revisions, fed row by row in their order.
pub(crate) struct Hashing(BTreeMap<i64, Digest>);

impl Hashing {
    /// Nothing hashed yet. More than 16 different answers are not worth their time.
    pub(crate) fn new(compacted: &[i64]) -> Self {
        let empty = || {
            let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
            digest.update(KEY_BUCKET);
            digest
        };
        Self(compacted.iter().take(16).map(|at| (*at, empty())).collect())
    }

    /// Adds a row. `kept`: whether it is the newest of a key that exists; `any`: whether any row is.
    pub(crate) fn row(&mut self, row: &Row<'_>, entry: &Entry<'_>, kept: bool, any: bool) {
        for (at, digest) in &mut self.0 {
            let gone = row.main <= *at && any && !kept;
            let just_deleted = row.tombstone && row.main == *at;
            if !gone && !just_deleted {
                digest.update(entry.key);
                digest.update(entry.value);
            }
        }
    }

    /// By compact revision.
    pub(crate) fn finish(self) -> BTreeMap<i64, u32> {
        self.0.into_iter().map(|(at, digest)| (at, digest.finalize() as u32)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_an_answer_over_rows_that_the_file_has_no_more_accuses_nobody() {
        let stated = |compact_revision, hash| MemberHash {
            hash: Some(hash),
            compact_revision: Some(compact_revision),
            why: None,
            ..HashKv::unknown("").members.remove(0)
        };
        let file = BTreeMap::from([(-1, 1), (162, 7), (170, 9)]);
        for (at, hash, verdict) in [
            (-1, 2, Verdict::Unknown),
            (-1, 1, Verdict::Equal),
            (162, 8, Verdict::Mismatch),
            (162, 7, Verdict::Equal),
            (170, 8, Verdict::Mismatch),
            (99, 8, Verdict::Unknown),
        ] {
            let found = HashKv::judge(vec![stated(at, hash)], &file, 162);
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert_eq!(found.members[0].why.is_some(), (at, hash) == (-1, 2), "{found:?}");
        }
        // One that was never compacted keeps every row: a difference is one.
        assert_eq!(HashKv::judge(vec![stated(-1, 2)], &file, -1).verdict, Verdict::Mismatch);
    }
}
