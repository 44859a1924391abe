//! The first 100 bytes of a file.
//!
//! Every reader of the format applies the same rules to these fields; both writing and reading go
//! through [`Header::validate`]. We write one kind only, "no checksum" (flag 2): the other kind
//! carries rolling checksums and is refused by Litestream's restore. We read both.

use std::ops::Deref;

use crate::checksum::FLAG;
use crate::error::{Error, Result};
use crate::page_size::PageSize;
use crate::txid::Txid;

/// Bytes of the header.
pub const HEADER_SIZE: usize = 100;

const MAGIC: u32 = u32::from_be_bytes(*b"LTX1");
/// No pre-apply and post-apply checksums in this file.
const NO_CHECKSUM: u32 = 1 << 1;

/// The fields of a header that a writer chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes per page.
    pub page_size: PageSize,
    /// Size of the database in pages after this file, at least 1.
    pub commit: u32,
    /// First transaction covered. 1 makes the file a snapshot: it must hold every page.
    pub min_txid: Txid,
    /// Last transaction covered.
    pub max_txid: Txid,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Where in the WAL the captured range began, in bytes; 0 for files not taken from a WAL.
    pub wal_offset: u64,
    /// Bytes of WAL captured.
    pub wal_size: u64,
    /// First salt of the WAL.
    pub wal_salt1: u32,
    /// Second salt of the WAL.
    pub wal_salt2: u32,
    /// Unused by Litestream; we store the rolling checksum of the database here.
    pub node_id: u64,
    /// Unused by Litestream; see [`Extension`](crate::Extension).
    pub reserved: [u8; 20],
}

/// A header as found in a file: the fields, and which kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodedHeader {
    /// The fields.
    pub header: Header,
    /// 2 in all files that Litestream 0.5 and we write, 0 in checksum-tracked ones.
    pub flags: u32,
    /// Rolling checksum of the database before this file; 0 unless tracked.
    pub pre_apply: u64,
}

impl Header {
    /// A file that holds the complete database.
    pub fn is_snapshot(&self) -> bool {
        self.min_txid == Txid::FIRST
    }

    /// The rules for a header we write.
    pub fn validate(&self) -> Result<()> {
        DecodedHeader { header: *self, flags: NO_CHECKSUM, pre_apply: 0 }.validate()
    }

    /// As stored, flags = 2.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut out = [0; HEADER_SIZE];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC.to_be_bytes());
        put(&NO_CHECKSUM.to_be_bytes());
        put(&self.page_size.get().to_be_bytes());
        put(&self.commit.to_be_bytes());
        put(&self.min_txid.get().to_be_bytes());
        put(&self.max_txid.get().to_be_bytes());
        put(&self.timestamp_ms.to_be_bytes());
        put(&0u64.to_be_bytes());
        put(&self.wal_offset.to_be_bytes());
        put(&self.wal_size.to_be_bytes());
        put(&self.wal_salt1.to_be_bytes());
        put(&self.wal_salt2.to_be_bytes());
        put(&self.node_id.to_be_bytes());
        put(&self.reserved);
        out
    }

    /// Reads and validates a header of either kind.
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Result<DecodedHeader> {
        let u32_at = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        let fail = |rule, offset| Error::Header { rule, offset };
        if u32_at(0) != MAGIC {
            return Err(fail("not an LTX file", 0));
        }
        let flags = u32_at(4);
        if flags & !NO_CHECKSUM != 0 {
            return Err(fail("unknown flags", 4));
        }
        let mut reserved = [0; 20];
        reserved.copy_from_slice(&bytes[80..100]);
        let header = Header {
            page_size: PageSize::new(u32_at(8))?,
            commit: u32_at(12),
            min_txid: Txid::new(u64_at(16)).ok_or(fail("minimum transaction id is 0", 16))?,
            max_txid: Txid::new(u64_at(24)).ok_or(fail("maximum transaction id is 0", 24))?,
            timestamp_ms: u64_at(32).cast_signed(),
            wal_offset: u64_at(48),
            wal_size: u64_at(56),
            wal_salt1: u32_at(64),
            wal_salt2: u32_at(68),
            node_id: u64_at(72),
            reserved,
        };
        let decoded = DecodedHeader { header, flags, pre_apply: u64_at(40) };
        decoded.validate()?;
        Ok(decoded)
    }
}

impl DecodedHeader {
    /// Whether pre-apply and post-apply checksums are present. Litestream refuses to restore such
    /// files and never writes them; other LTX writers do.
    pub fn is_checksum_tracked(&self) -> bool {
        self.flags & NO_CHECKSUM == 0
    }

    fn validate(&self) -> Result<()> {
        let fail = |rule, offset| Err(Error::Header { rule, offset });
        let h = &self.header;
        if h.min_txid > h.max_txid {
            return fail("minimum transaction id is above the maximum", 16);
        }
        // "Deletion" needs a post-apply checksum, which the other kind of file must not have.
        if h.commit == 0 && !self.is_checksum_tracked() {
            return fail("commit is 0: an LTX file cannot delete a database", 12);
        }
        if h.wal_offset > i64::MAX as u64 {
            return fail("WAL offset is negative", 48);
        }
        if h.wal_size > i64::MAX as u64 {
            return fail("WAL size is negative", 56);
        }
        if h.wal_offset == 0 {
            if h.wal_salt1 != 0 || h.wal_salt2 != 0 {
                return fail("WAL salts without a WAL offset", 64);
            }
            if h.wal_size != 0 {
                return fail("WAL size without a WAL offset", 56);
            }
        }
        if h.is_snapshot() || !self.is_checksum_tracked() {
            if self.pre_apply != 0 {
                return fail("pre-apply checksum in a snapshot or a file without checksums", 40);
            }
        } else if self.pre_apply & FLAG == 0 {
            return fail("pre-apply checksum without its flag bit", 40);
        }
        Ok(())
    }
}

impl Deref for DecodedHeader {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

#[cfg(test)]
mod tests;
