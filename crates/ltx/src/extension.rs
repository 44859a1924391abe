//! What we put into the 20 header bytes that Litestream reserves and ignores.
//!
//! `H W | epoch u32 | lineage u64 | write id 6 bytes`, big-endian. The bytes are covered by the file
//! checksum. Litestream drops them when it compacts, so their absence says that somebody else
//! wrote the file, not that it is damaged.

/// Marks the bytes as ours.
const MAGIC: [u8; 2] = *b"HW";

/// Who wrote a file, and when in the order of writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extension {
    /// Number of the claim under which the file was written.
    pub epoch: u32,
    /// The history the file belongs to: equal transaction ids of two lineages are strangers.
    pub lineage: u64,
    /// Chosen at random per file, so that a writer recognises its own upload after a crash.
    pub write_id: [u8; 6],
}

impl Extension {
    /// For [`Header::reserved`](crate::Header::reserved).
    pub fn to_reserved(self) -> [u8; 20] {
        let mut out = [0; 20];
        out[0..2].copy_from_slice(&MAGIC);
        out[2..6].copy_from_slice(&self.epoch.to_be_bytes());
        out[6..14].copy_from_slice(&self.lineage.to_be_bytes());
        out[14..20].copy_from_slice(&self.write_id);
        out
    }

    /// `None` when the file was not written by us.
    pub fn from_reserved(reserved: &[u8; 20]) -> Option<Extension> {
        let (magic, rest) = reserved.split_first_chunk::<2>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (lineage, rest) = rest.split_first_chunk::<8>()?;
        let (write_id, _) = rest.split_first_chunk::<6>()?;
        (*magic == MAGIC).then_some(Extension {
            epoch: u32::from_be_bytes(*epoch),
            lineage: u64::from_be_bytes(*lineage),
            write_id: *write_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_bytes_there_and_back() {
        let ours = Extension { epoch: 0x01020304, lineage: 0x1112131415161718, write_id: [9, 8, 7, 6, 5, 4] };
        let bytes = ours.to_reserved();
        assert_eq!(
            bytes,
            [b'H', b'W', 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 9, 8, 7, 6, 5, 4]
        );
        assert_eq!(Extension::from_reserved(&bytes), Some(ours));
        assert_eq!(Extension::from_reserved(&[0; 20]), None);
    }
}
