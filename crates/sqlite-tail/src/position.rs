//! How far a WAL has been copied, in a form that can be proven again later (trap 18).

use crate::wal::{FRAME_HEADER, HEADER};

/// Everything up to `frame` of the WAL generation named by the salts is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// First salt of the generation, as the WAL header holds it.
    pub salt1: u32,
    /// Second salt of the generation.
    pub salt2: u32,
    /// Copied frames; 0 means none of this generation.
    pub frame: u32,
    /// First word of the running checksum at `frame`; it covers all frames before it. 0 if `frame` is 0.
    pub cksum1: u32,
    /// Second word of the running checksum.
    pub cksum2: u32,
    /// Bytes per page.
    pub page_size: u32,
    /// Size of the database in pages at this position.
    pub commit: u32,
}

impl Position {
    /// Byte offset in the WAL at which the next frame starts.
    pub fn wal_offset(&self) -> u64 {
        HEADER as u64 + u64::from(self.frame) * (FRAME_HEADER as u64 + u64::from(self.page_size))
    }

    /// The salts, as a pair to compare.
    pub fn salts(&self) -> (u32, u32) {
        (self.salt1, self.salt2)
    }
}

/// Whether a position from before a downtime still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The WAL is append-only since then: copying continues at the position.
    Proven,
    /// It cannot be told what happened since: the caller compares pages with a [`View`](crate::View).
    Unproven {
        /// What was missing for a proof.
        reason: &'static str,
    },
    /// The WAL is the same generation and no longer holds our frame: commits that were copied are gone from this
    /// volume, as after a power loss with `synchronous=NORMAL` or with an older copy of the volume (trap 10). The
    /// caller must not take the older state for a newer one.
    RolledBack {
        /// How it shows.
        reason: &'static str,
    },
}
