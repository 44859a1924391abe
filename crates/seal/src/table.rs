//! The seek table: the last frame of every object, in zstd's seekable format.
//!
//! Facts: facebook/zstd contrib/seekable_format/zstd_seekable_compression_format.md. One entry per frame before it,
//! metadata included (with a decompressed size of 0, as that document asks for skippable frames).

use crate::Error;
use crate::frame::{
    MAX_BLOCK_BYTES, MAX_FRAMES, MAX_METADATA_BYTES, SKIPPABLE_HEADER, SKIPPABLE_MAGIC, TABLE_KIND,
    skippable_header,
};

pub(crate) const ENTRY_BYTES: usize = 12;
pub(crate) const FOOTER_BYTES: usize = 9;
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Entries carry checksums; all other bits are reserved.
const DESCRIPTOR: u8 = 0x80;
/// Low 32 bits of XXH64 of nothing: the checksum of a frame that decompresses to nothing.
pub(crate) const CHECKSUM_OF_NOTHING: u32 = 0x51D8_E999;
/// zstd's own bound for incompressible data is size + size/256 + 64 + headers.
const MOST_STORED: usize = MAX_BLOCK_BYTES + MAX_BLOCK_BYTES / 256 + 1024;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Bytes of the whole frame.
    pub(crate) stored: u32,
    /// Bytes of data in it; 0 for metadata.
    pub(crate) size: u32,
    /// Low 32 bits of XXH64 of the data.
    pub(crate) checksum: u32,
}

impl Entry {
    /// Whether the sizes are within the bounds of the format.
    pub(crate) fn check(self) -> Result<Self, Error> {
        let most = if self.size == 0 { MAX_METADATA_BYTES + SKIPPABLE_HEADER + 4 } else { MOST_STORED };
        if self.size as usize > MAX_BLOCK_BYTES || self.stored as usize > most || self.stored < 8 {
            return Err(Error::Damaged(format!(
                "a frame of {} bytes for {} bytes of data",
                self.stored, self.size
            )));
        }
        if self.size == 0 && self.checksum != CHECKSUM_OF_NOTHING {
            return Err(Error::Damaged("a frame without data has a checksum of some".into()));
        }
        Ok(self)
    }
}

/// Bytes of the whole table frame.
pub(crate) fn encoded_len(entries: usize) -> usize {
    SKIPPABLE_HEADER + entries * ENTRY_BYTES + FOOTER_BYTES
}

/// The whole table frame.
pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(encoded_len(entries.len()));
    let content = entries.len() * ENTRY_BYTES + FOOTER_BYTES;
    frame.extend_from_slice(&skippable_header(TABLE_KIND, content as u32));
    for entry in entries {
        frame.extend_from_slice(&entry.stored.to_le_bytes());
        frame.extend_from_slice(&entry.size.to_le_bytes());
        frame.extend_from_slice(&entry.checksum.to_le_bytes());
    }
    frame.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    frame.push(DESCRIPTOR);
    frame.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
    frame
}

/// The number of entries that a footer states.
pub(crate) fn decode_footer(footer: [u8; FOOTER_BYTES]) -> Result<usize, Error> {
    let count = word(&footer, 0) as usize;
    if word(&footer, 5) != FOOTER_MAGIC {
        return Err(Error::Damaged(
            "it does not end with a seek table (truncated, or not one of ours)".into(),
        ));
    }
    if footer[4] != DESCRIPTOR {
        return Err(Error::Damaged(format!("seek table descriptor {:#04x}", footer[4])));
    }
    if count > MAX_FRAMES {
        return Err(Error::Damaged(format!("a seek table of {count} frames")));
    }
    Ok(count)
}

/// The entries of a whole table frame whose footer was read.
pub(crate) fn decode(frame: &[u8]) -> Result<Vec<Entry>, Error> {
    let content = frame.len().saturating_sub(SKIPPABLE_HEADER);
    let damaged = || Error::Damaged("the seek table contradicts its own header".into());
    if content < FOOTER_BYTES || !(content - FOOTER_BYTES).is_multiple_of(ENTRY_BYTES) {
        return Err(damaged());
    }
    if word(frame, 0) != SKIPPABLE_MAGIC | u32::from(TABLE_KIND) || word(frame, 4) as usize != content {
        return Err(damaged());
    }
    let entries = &frame[SKIPPABLE_HEADER..frame.len() - FOOTER_BYTES];
    let entry = |bytes: &[u8]| {
        Entry { stored: word(bytes, 0), size: word(bytes, 4), checksum: word(bytes, 8) }.check()
    };
    entries.chunks_exact(ENTRY_BYTES).map(entry).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::checksum;

    #[test]
    fn the_checksum_of_nothing_is_what_it_says() {
        assert_eq!(checksum(0, &[]), CHECKSUM_OF_NOTHING);
    }

    #[test]
    fn round_trip() {
        let entries = [
            Entry { stored: 100, size: 1000, checksum: 7 },
            Entry { stored: 20, size: 0, checksum: CHECKSUM_OF_NOTHING },
        ];
        let frame = encode(&entries);
        assert_eq!(frame.len(), encoded_len(2));
        assert_eq!(decode(&frame).unwrap(), entries);
        assert_eq!(decode_footer(frame[frame.len() - 9..].try_into().unwrap()).unwrap(), 2);
    }

    #[test]
    fn p7_sizes_are_bounded_before_anything_is_allocated() {
        for entry in [
            Entry { stored: 100, size: u32::MAX, checksum: 0 },
            Entry { stored: u32::MAX, size: 1, checksum: 0 },
            Entry { stored: 4 << 20, size: 0, checksum: 0 },
            Entry { stored: 0, size: 0, checksum: 0 },
        ] {
            assert!(decode(&encode(&[entry])).is_err(), "{entry:?}");
        }
    }
}
