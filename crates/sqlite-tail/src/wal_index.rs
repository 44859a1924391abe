//! The first 136 bytes of `-shm`: the one place that says which frames are committed and published (P2).
//!
//! Layout (native endian, SQLite `walformat` §2 and `wal.c`): two copies of a 48-byte header, then `nBackfill`,
//! five read marks, eight lock bytes, `nBackfillAttempted`. A writer updates the second copy first; a reader
//! accepts the header only if both are equal and the checksum is right. The salts are stored as the WAL holds
//! them (big-endian), the frame checksum as native words. `nBackfill` is outside the copies: a hint, exact only
//! under a hold whose header stood still.

use crate::wal::{Checksum, be32, is_page_size};

/// Bytes to read from the start of `-shm`.
pub const LEN: usize = 136;
/// Offset of the "dead man's switch" lock byte: shared by everyone who has the wal-index open.
pub const DMS_BYTE: i64 = 128;

/// A consistent wal-index header with the checkpoint information read along with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalIndex {
    /// Transaction counter; reset by recovery, so no proof of anything (trap 18).
    pub change: u32,
    /// Bytes per page; 0 while no WAL was ever written.
    pub page_size: u32,
    /// Number of the last committed frame.
    pub mx_frame: u32,
    /// Size of the database in pages; 0 if the WAL was empty when the index was built.
    pub db_pages: u32,
    /// Checksum words of the WAL are big-endian.
    pub big_endian: bool,
    /// Running checksum at `mx_frame`.
    pub checksum: Checksum,
    /// First salt.
    pub salt1: u32,
    /// Second salt.
    pub salt2: u32,
    /// Frames already copied into the database file.
    pub n_backfill: u32,
    /// Frames that a checkpoint in progress is copying, or was when it died.
    pub n_backfill_attempted: u32,
}

impl WalIndex {
    /// Reads the header; `None` if it is being written, was never initialised, or is broken.
    pub fn parse(bytes: &[u8; LEN]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..48] != bytes[48..96] || bytes[12] == 0 {
            return None;
        }
        let checksum = Checksum::default().update(&bytes[..40], cfg!(target_endian = "big"));
        if checksum != (Checksum { s1: u32_at(40), s2: u32_at(44) }) {
            return None;
        }
        let size = u32::from(u16::from_ne_bytes([bytes[14], bytes[15]]));
        let page_size = (size & 0xfe00) | ((size & 1) << 16);
        if page_size != 0 && !is_page_size(page_size) {
            return None;
        }
        Some(Self {
            change: u32_at(8),
            page_size,
            mx_frame: u32_at(16),
            db_pages: u32_at(20),
            big_endian: bytes[13] != 0,
            checksum: Checksum { s1: u32_at(24), s2: u32_at(28) },
            salt1: be32(bytes, 32),
            salt2: be32(bytes, 36),
            n_backfill: u32_at(96),
            n_backfill_attempted: u32_at(128),
        })
    }

    /// The salts, as a pair to compare.
    pub fn salts(&self) -> (u32, u32) {
        (self.salt1, self.salt2)
    }

    /// Whether both describe the same published state; checkpoint progress is not compared.
    pub fn same_state(&self, other: &Self) -> bool {
        Self { n_backfill: 0, n_backfill_attempted: 0, ..*self }
            == Self { n_backfill: 0, n_backfill_attempted: 0, ..*other }
    }

    /// Frames committed but not yet in the database file.
    pub fn behind(&self) -> u32 {
        self.mx_frame.saturating_sub(self.n_backfill)
    }
}
