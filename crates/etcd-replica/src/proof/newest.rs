//! Which rows hold the newest revision of a key that exists: one bit per row, found through a map of hashed keys.
//!
//! A map of all keys would grow with the cluster, so it holds at most [`KEYS_PER_PASS`] of them; with more, the keys are split by their hash and the
//! bucket is walked once per share (P7). A slot is 16 bytes, and the map has at most twice as many slots as keys: 17 MiB while it grows.

use super::row::{KEY_BUCKET, Row};
use crate::bolt::Tree;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Most keys whose newest revision is remembered at a time.
pub(crate) const KEYS_PER_PASS: usize = 400_000;
/// Set in a row's number where the row is a deletion; more rows than that need a file far beyond etcd's bound of 8 GiB.
const DELETED: u32 = 1 << 31;

/// 96 bits of SHA-256. Two of ten million keys with the same would make a wrong hash and a false alarm once in 10^15 runs, and never a false success.
type Hashed = [u8; 12];

/// The newest row of each key seen so far.
#[derive(Default)]
pub(crate) struct Newest(HashMap<Hashed, u32>);

impl Newest {
    /// Adds a row; rows come in the order of their revisions. False when there are more keys than `limit`.
    pub(crate) fn add(&mut self, row: &Row<'_>, number: u32, limit: usize) -> bool {
        self.put(hashed(row.user_key), row, number);
        self.0.len() <= limit
    }

    fn put(&mut self, key: Hashed, row: &Row<'_>, number: u32) {
        self.0.insert(key, if row.tombstone { number | DELETED } else { number });
    }
}

/// The number of a row, which the map can hold.
pub(crate) fn number(rows: u64) -> Result<u32> {
    let number = u32::try_from(rows).ok().filter(|number| number & DELETED == 0);
    number.ok_or_else(|| Error::damaged("more than 2^31 rows"))
}

fn hashed(key: &[u8]) -> Hashed {
    Sha256::digest(key)[..12].try_into().expect("a digest has 32 bytes")
}

/// One bit per row.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    bits: Vec<u64>,
    any: bool,
}

impl Kept {
    /// From the map that took all rows, or from as many walks as it needs without one.
    pub(crate) fn of(tree: &Tree<'_>, rows: u64, newest: Option<Newest>, limit: usize) -> Result<Self> {
        let words = usize::try_from(rows / 64 + 1).expect("rows were counted in memory");
        let mut kept = Self { bits: vec![0; words], any: false };
        match newest {
            Some(newest) => kept.keep(&newest),
            None => {
                let passes = rows / (limit as u64 / 2).max(1) + 1;
                for pass in 0..passes {
                    kept.keep(&one_pass(tree, pass, passes)?);
                }
            }
        }
        Ok(kept)
    }

    fn keep(&mut self, newest: &Newest) {
        for row in newest.0.values().filter(|row| **row & DELETED == 0) {
            self.bits[*row as usize / 64] |= 1 << (row % 64);
            self.any = true;
        }
    }

    /// Whether this row is one.
    pub(crate) fn has(&self, row: u64) -> bool {
        self.bits.get((row / 64) as usize).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        self.any
    }
}

fn one_pass(tree: &Tree<'_>, pass: u64, passes: u64) -> Result<Newest> {
    let mut newest = Newest::default();
    let mut rows = 0;
    tree.walk_bucket(KEY_BUCKET, &mut |entry| {
        let row = Row::read(entry.key, entry.value)?;
        let key = hashed(row.user_key);
        let share = u64::from_le_bytes(key[..8].try_into().expect("eight of twelve bytes"));
        if share % passes == pass {
            newest.put(key, &row, number(rows)?);
        }
        rows += 1;
        Ok(())
    })?;
    Ok(newest)
}
