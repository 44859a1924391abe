//! The checksum of the page index that a file must have, from its pages.

use crate::checksum::{Crc64, combine};
use crate::index::{IndexEntry, LENGTH};
use crate::varint;

/// Checksum and length of all index bytes, length field included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexDigest {
    pub(crate) crc: u64,
    pub(crate) len: u64,
}

impl IndexDigest {
    /// Of an index in memory.
    pub fn of(index: &[u8]) -> IndexDigest {
        IndexDigest { crc: Crc64::of(index), len: index.len() as u64 }
    }

    /// The digest of a whole index from that of its entries, where only that is at hand: [`Echo::close`] costs less.
    pub(crate) fn close(self) -> IndexDigest {
        let end = closing(self.len);
        IndexDigest {
            crc: combine(self.crc, Crc64::of(&end), end.len() as u64),
            len: self.len + end.len() as u64,
        }
    }
}

/// The checksum of the index that pages must have, computed while they go by.
#[derive(Debug, Clone)]
pub(crate) struct Echo {
    crc: Crc64,
    len: u64,
    /// Where the next page begins.
    pub(crate) offset: u64,
    pending: Vec<u8>,
}

impl Echo {
    const PENDING: usize = 1024;

    pub(crate) fn new(offset: u64) -> Echo {
        Echo { crc: Crc64::new(), len: 0, offset, pending: Vec::with_capacity(Self::PENDING) }
    }

    pub(crate) fn push(&mut self, pgno: u32, size: u64) {
        if self.pending.len() + 3 * varint::MAX > Self::PENDING {
            self.flush();
        }
        IndexEntry { pgno, offset: self.offset, size }.put(&mut self.pending);
        self.offset += size;
    }

    fn flush(&mut self) {
        self.crc.update(&self.pending);
        self.len += self.pending.len() as u64;
        self.pending.clear();
    }

    /// Without the end of the index.
    pub(crate) fn entries(mut self) -> IndexDigest {
        self.flush();
        IndexDigest { crc: self.crc.value(), len: self.len }
    }

    /// With the end of the index.
    pub(crate) fn close(mut self) -> IndexDigest {
        self.flush();
        self.pending.extend_from_slice(&closing(self.len));
        self.entries()
    }
}

/// Terminator and length field after entries of `len` bytes.
pub(crate) fn closing(len: u64) -> [u8; 1 + LENGTH] {
    let mut out = [0; 1 + LENGTH];
    out[1..].copy_from_slice(&(len + 1).to_be_bytes());
    out
}
