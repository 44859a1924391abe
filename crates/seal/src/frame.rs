//! The frames an object is made of: zstd frames with data, skippable frames with metadata, and the bounds of both.
//!
//! Facts: RFC 8878 (zstd frames: §3.1.1, skippable frames: §3.1.2). Byte by byte: `docs/formats/sealed.md`.

use crate::Error;
use twox_hash::XxHash64;

/// Most uncompressed bytes of one block; also the window that a reader grants.
pub const MAX_BLOCK_BYTES: usize = 8 << 20;
/// log2 of [`MAX_BLOCK_BYTES`].
pub(crate) const WINDOW_LOG: u32 = 23;
/// Most bytes of one piece of metadata.
pub const MAX_METADATA_BYTES: usize = 1 << 20;
/// Most frames of one object, blocks and metadata together.
pub const MAX_FRAMES: usize = 1 << 20;

pub(crate) const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// Skippable frames are this to this + 15.
pub(crate) const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
/// The kind of skippable frame that the seekable format takes for its table.
pub(crate) const TABLE_KIND: u8 = 0xE;
/// Magic and length of a skippable frame.
pub(crate) const SKIPPABLE_HEADER: usize = 8;
/// Bit of the frame header descriptor that says that a content checksum follows.
const CHECKSUM_FLAG: u8 = 0x04;
/// The checksum behind every piece of metadata.
const CHECKSUM_BYTES: usize = 4;

/// Bytes that `zstd -d` skips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// 0 to 13, the last digit of the frame's magic; what it means is the writer's business.
    pub kind: u8,
    /// At most [`MAX_METADATA_BYTES`].
    pub bytes: Vec<u8>,
}

/// The first bytes of a frame: what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// A zstd frame.
    Data,
    /// A skippable frame of this kind.
    Skippable(u8),
}

impl Start {
    /// Reads the magic; of a zstd frame also that it carries a checksum, so five bytes are needed.
    pub(crate) fn read(head: [u8; 5]) -> Result<Self, Error> {
        let magic = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        match magic {
            ZSTD_MAGIC if head[4] & CHECKSUM_FLAG != 0 => Ok(Self::Data),
            ZSTD_MAGIC => Err(Error::Damaged("a zstd frame without a checksum".into())),
            _ if magic & !0xF == SKIPPABLE_MAGIC => Ok(Self::Skippable((magic & 0xF) as u8)),
            _ => Err(Error::Damaged(format!("{magic:#010x} begins no frame"))),
        }
    }
}

/// Magic and length of a skippable frame of that kind.
pub(crate) fn skippable_header(kind: u8, length: u32) -> [u8; SKIPPABLE_HEADER] {
    let mut header = [0; SKIPPABLE_HEADER];
    header[..4].copy_from_slice(&(SKIPPABLE_MAGIC | u32::from(kind)).to_le_bytes());
    header[4..].copy_from_slice(&length.to_le_bytes());
    header
}

/// The low 32 bits of XXH64. The seed is the kind of metadata, so that a flipped bit in the frame's magic is noticed too;
/// zstd's own content checksum has seed 0.
pub(crate) fn checksum(kind: u8, bytes: &[u8]) -> u32 {
    XxHash64::oneshot(u64::from(kind), bytes) as u32
}

impl Metadata {
    /// The whole skippable frame: header, bytes, checksum.
    pub(crate) fn encode(kind: u8, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        if kind >= TABLE_KIND {
            return Err(Error::Bounds(format!("metadata of kind {kind} (0 to 13)")));
        }
        if bytes.len() > MAX_METADATA_BYTES {
            return Err(Error::Bounds(format!(
                "metadata of {} bytes (at most {MAX_METADATA_BYTES})",
                bytes.len()
            )));
        }
        let mut frame = skippable_header(kind, (bytes.len() + CHECKSUM_BYTES) as u32).to_vec();
        frame.extend_from_slice(bytes);
        frame.extend_from_slice(&checksum(kind, bytes).to_le_bytes());
        Ok(frame)
    }

    /// Checks the length that a skippable frame's header states, before anything is allocated.
    pub(crate) fn check_length(kind: u8, length: u32) -> Result<usize, Error> {
        let length = length as usize;
        if kind >= TABLE_KIND || !(CHECKSUM_BYTES..=MAX_METADATA_BYTES + CHECKSUM_BYTES).contains(&length) {
            return Err(Error::Damaged(format!("metadata of kind {kind} with {length} bytes")));
        }
        Ok(length)
    }

    /// Takes the content of a skippable frame apart.
    pub(crate) fn decode(kind: u8, mut content: Vec<u8>) -> Result<Self, Error> {
        let split = content.len().checked_sub(CHECKSUM_BYTES);
        let Some((bytes, stated)) = split.map(|at| content.split_at(at)) else {
            return Err(Error::Damaged("metadata without its checksum".into()));
        };
        if stated != checksum(kind, bytes).to_le_bytes() {
            return Err(Error::Damaged("metadata does not match its checksum".into()));
        }
        content.truncate(content.len() - CHECKSUM_BYTES);
        Ok(Self { kind, bytes: content })
    }
}
