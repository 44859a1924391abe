//! The 24 bytes before each page of a WAL.

use super::{Checksum, FRAME_HEADER, be32};

/// A frame header as it stands in the file; valid only together with its page, see [`FrameHeader::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Number of the page that follows, from 1.
    pub pgno: u32,
    /// Size of the database in pages after this commit; 0 if the transaction goes on.
    pub commit: u32,
    /// First salt of the generation that wrote the frame.
    pub salt1: u32,
    /// Second salt.
    pub salt2: u32,
    /// The running checksum including this frame.
    pub checksum: Checksum,
}

impl FrameHeader {
    /// Takes the fields apart; checks nothing.
    pub fn parse(bytes: &[u8; FRAME_HEADER]) -> Self {
        Self {
            pgno: be32(bytes, 0),
            commit: be32(bytes, 4),
            salt1: be32(bytes, 8),
            salt2: be32(bytes, 12),
            checksum: Checksum { s1: be32(bytes, 16), s2: be32(bytes, 20) },
        }
    }

    /// Parses a whole frame (header and page) and checks that it continues the generation `salts` whose running
    /// checksum before it was `before`. `None` if it does not.
    pub fn verify(frame: &[u8], salts: (u32, u32), before: Checksum, big_endian: bool) -> Option<Self> {
        let (head, page) = frame.split_first_chunk::<FRAME_HEADER>()?;
        let header = Self::parse(head);
        if (header.salt1, header.salt2) != salts || header.pgno == 0 {
            return None;
        }
        let checksum = before.update(&head[..8], big_endian).update(page, big_endian);
        (checksum == header.checksum).then_some(header)
    }

    /// A frame header for `page` that continues `before`, as SQLite would write it.
    pub fn encode(
        pgno: u32,
        commit: u32,
        salts: (u32, u32),
        before: Checksum,
        big_endian: bool,
        page: &[u8],
    ) -> [u8; FRAME_HEADER] {
        let mut head = [0; FRAME_HEADER];
        head[..4].copy_from_slice(&pgno.to_be_bytes());
        head[4..8].copy_from_slice(&commit.to_be_bytes());
        head[8..12].copy_from_slice(&salts.0.to_be_bytes());
        head[12..16].copy_from_slice(&salts.1.to_be_bytes());
        let checksum = before.update(&head[..8], big_endian).update(page, big_endian);
        head[16..20].copy_from_slice(&checksum.s1.to_be_bytes());
        head[20..24].copy_from_slice(&checksum.s2.to_be_bytes());
        head
    }
}
