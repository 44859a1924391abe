//! The last 16 bytes of a file.

use crate::checksum::FLAG;
use crate::error::{Error, Result};
use crate::header::DecodedHeader;

/// Bytes of the trailer.
pub const TRAILER_SIZE: usize = 16;

/// Checksums at the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Rolling checksum of the database after this file; 0 in every file that Litestream accepts.
    pub post_apply: u64,
    /// Over the content of the file, bit 63 set.
    pub file_checksum: u64,
}

impl Trailer {
    /// As stored. The first 8 bytes are part of the file checksum.
    pub fn to_bytes(self) -> [u8; TRAILER_SIZE] {
        let mut out = [0; TRAILER_SIZE];
        out[..8].copy_from_slice(&self.post_apply.to_be_bytes());
        out[8..].copy_from_slice(&self.file_checksum.to_be_bytes());
        out
    }

    /// Takes the bytes apart; see [`Trailer::validate`] for the rules.
    pub fn from_bytes(bytes: &[u8; TRAILER_SIZE]) -> Trailer {
        let value = u128::from_be_bytes(*bytes);
        Trailer { post_apply: (value >> 64) as u64, file_checksum: value as u64 }
    }

    /// Checks what the header of the same file demands. `offset` is where the trailer begins.
    pub fn validate(&self, header: &DecodedHeader, offset: u64) -> Result<()> {
        let fail = |rule, at| Err(Error::Trailer { offset: offset + at, rule });
        if !header.is_checksum_tracked() {
            if self.post_apply != 0 {
                return fail("post-apply checksum in a file without checksums", 0);
            }
        } else if self.post_apply & FLAG == 0 {
            return fail("post-apply checksum without its flag bit", 0);
        } else if header.commit == 0 && self.post_apply != FLAG {
            return fail("post-apply checksum of an empty database is not the empty one", 0);
        }
        if self.file_checksum & FLAG == 0 {
            return fail("file checksum without its flag bit", 8);
        }
        Ok(())
    }
}
