//! The 32 bytes at the start of a WAL.

use super::{Checksum, HEADER, be32, is_page_size};

const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// A WAL header whose checksum was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalHeader {
    /// Checksum words are big-endian.
    pub big_endian: bool,
    /// Bytes per page.
    pub page_size: u32,
    /// Checkpoint sequence number.
    pub sequence: u32,
    /// First salt; one more after each restart by the same connection.
    pub salt1: u32,
    /// Second salt; random after each restart.
    pub salt2: u32,
    /// The checksum of the header: the seed of frame 1.
    pub checksum: Checksum,
}

impl WalHeader {
    /// Reads a header; `None` if magic, version, page size or checksum is wrong.
    pub fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let magic = be32(bytes, 0);
        if magic & !1 != MAGIC || be32(bytes, 4) != VERSION {
            return None;
        }
        let big_endian = magic & 1 == 1;
        let checksum = Checksum::default().update(&bytes[..24], big_endian);
        let stored = Checksum { s1: be32(bytes, 24), s2: be32(bytes, 28) };
        let page_size = be32(bytes, 8);
        (stored == checksum && is_page_size(page_size)).then(|| Self {
            big_endian,
            page_size,
            sequence: be32(bytes, 12),
            salt1: be32(bytes, 16),
            salt2: be32(bytes, 20),
            checksum,
        })
    }

    /// The bytes of this header, its checksum computed afresh.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let words = [
            MAGIC | u32::from(self.big_endian),
            VERSION,
            self.page_size,
            self.sequence,
            self.salt1,
            self.salt2,
        ];
        for (at, word) in words.iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        let checksum = Checksum::default().update(&bytes[..24], self.big_endian);
        bytes[24..28].copy_from_slice(&checksum.s1.to_be_bytes());
        bytes[28..32].copy_from_slice(&checksum.s2.to_be_bytes());
        bytes
    }

    /// The salts, as a pair to compare.
    pub fn salts(&self) -> (u32, u32) {
        (self.salt1, self.salt2)
    }
}
