//! Which pages have been seen, and the checksum of all of them: what proves an end state whatever order its files came in.
//!
//! The rolling checksum is an XOR over pages, so that it can be gathered newest file first and from many threads (trap 5).

use crate::origin::Sample;
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages whose checksums are kept, for the note of a restore by hand.
const SAMPLED: u32 = 1024;

/// One bit per page (P7: 32 KiB per GiB of 4 KiB pages), and the checksum of those seen.
#[derive(Debug)]
pub(crate) struct Proof {
    commit: u32,
    seen: Vec<AtomicU64>,
    count: AtomicU64,
    rolling: AtomicU64,
    /// Every how many pages one is sampled.
    every: u32,
    sample: Vec<AtomicU64>,
}

impl Proof {
    /// For a database of `commit` pages.
    pub(crate) fn new(commit: u32) -> Proof {
        let words = commit as usize / 64 + 1;
        let every = commit / SAMPLED + 1;
        Proof {
            commit,
            seen: (0..words).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            rolling: AtomicU64::new(0),
            every,
            sample: (0..commit / every).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The checksum of this page, if it is the newest version of one that the end state has: the first one offered.
    pub(crate) fn accept(&self, pgno: u32, page: &[u8]) -> Option<u64> {
        if pgno > self.commit {
            return None;
        }
        let bit = 1 << (pgno % 64);
        if self.seen[(pgno / 64) as usize].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return None;
        }
        let sum = ltx::checksum::page_checksum(pgno, page);
        self.rolling.fetch_xor(sum, Ordering::Relaxed);
        if pgno.is_multiple_of(self.every) {
            self.sample[(pgno / self.every) as usize - 1].store(sum, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(sum)
    }

    /// Pages of the database.
    pub(crate) fn commit(&self) -> u32 {
        self.commit
    }

    /// The accepted pages, ascending.
    pub(crate) fn pages(&self) -> impl Iterator<Item = u32> + '_ {
        self.seen.iter().enumerate().flat_map(|(i, word)| {
            let word = word.load(Ordering::Relaxed);
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i as u32 * 64 + bit)
        })
    }

    /// Pages that nobody offered.
    pub(crate) fn missing(&self, lock_page: u32) -> u64 {
        let expected = u64::from(self.commit) - u64::from(lock_page <= self.commit);
        expected - self.count.load(Ordering::Relaxed)
    }

    /// Checksums of some of the accepted pages.
    pub(crate) fn sample(&self) -> Sample {
        let sums = self.sample.iter().map(|sum| sum.load(Ordering::Relaxed)).collect();
        Sample { every: self.every, sums }
    }

    /// The rolling checksum of what was accepted.
    pub(crate) fn rolling(&self) -> u64 {
        self.rolling.load(Ordering::Relaxed) | ltx::checksum::FLAG
    }
}
