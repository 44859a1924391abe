//! Decodes a file in parts, in any order and in parallel, and proves the whole afterwards.
//!
//! The index says where page frames begin, so a file can be cut into runs of whole frames. Each run
//! yields a [`Piece`]: a checksum of its content that can be joined with its neighbours, and the same
//! for the part of the index its frames must have. [`verify_pieces`] joins them and so proves exactly
//! what [`Decoder`](crate::Decoder) proves (P2): checksum, order, completeness, index. The one
//! exception is the rolling checksum of a checksum-tracked snapshot, which is not recomputed.

use crate::checksum::{Crc64, FLAG, combine};
use crate::decoder::compare;
use crate::echo::{Echo, IndexDigest};
use crate::encoder::Summary;
use crate::error::{Error, Result};
use crate::header::{HEADER_SIZE, Header};
use crate::page::{END_OF_PAGES, PAGE_HEADER, decode_page_at};
use crate::page_size::PageSize;
use crate::sequence::Sequence;
use crate::trailer::{TRAILER_SIZE, Trailer};

/// The proof of a run of page frames, to be joined with that of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Of the content: page headers and decompressed pages.
    crc: u64,
    len: u64,
    /// Of the index entries these frames must have.
    index: IndexDigest,
    /// Where the run begins and ends in the file.
    start: u64,
    end: u64,
    first: u32,
    last: u32,
    pages: u64,
}

impl Piece {
    /// How many pages the run held.
    pub fn pages(&self) -> u64 {
        self.pages
    }
}

/// Decodes the page frames that fill `buf` exactly and hands each page to `each`.
///
/// `first_offset` is where `buf` begins in the file. Whether page numbers lie within the database is
/// proven by [`verify_pieces`]; until then `each` must bear any page number (they ascend within the
/// run, and the lock page is refused).
pub fn decode_run(
    buf: &[u8],
    page_size: PageSize,
    first_offset: u64,
    each: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
) -> Result<Piece> {
    let mut page = vec![0; page_size.bytes()];
    let mut crc = Crc64::new();
    let mut len = 0;
    let mut echo = Echo::new(first_offset);
    let (mut first, mut last, mut pages) = (0, 0, 0);
    let mut rest = buf;
    while !rest.is_empty() {
        let offset = echo.offset;
        let frame = decode_page_at(rest, offset, page_size, &mut page)?;
        let fail = |rule| Error::Page { pgno: frame.pgno, offset, rule };
        if frame.pgno == page_size.lock_page() {
            return Err(fail("the lock page holds no data"));
        }
        if frame.pgno <= last {
            return Err(fail("page numbers do not ascend"));
        }
        crc.update(&rest[..frame.hashed_prefix]);
        crc.update(&page);
        len += (frame.hashed_prefix + page.len()) as u64;
        echo.push(frame.pgno, frame.consumed as u64);
        if first == 0 {
            first = frame.pgno;
        }
        last = frame.pgno;
        pages += 1;
        rest = &rest[frame.consumed..];
        each(frame.pgno, &page)?;
    }
    let end = echo.offset;
    Ok(Piece { crc: crc.value(), len, index: echo.entries(), start: first_offset, end, first, last, pages })
}

/// Proves a file from its parts: header, the pieces of all its pages in order, the whole index with
/// terminator and length field, trailer.
pub fn verify_pieces(
    header: &[u8; HEADER_SIZE],
    pieces: impl Iterator<Item = Piece>,
    index: &[u8],
    trailer: &[u8; TRAILER_SIZE],
) -> Result<Summary> {
    verify_parts(header, pieces, IndexDigest::of(index), trailer)
}

/// As [`verify_pieces`], for an index that was read as a stream
/// ([`IndexReader::digest`](crate::IndexReader::digest)).
pub fn verify_parts(
    header: &[u8; HEADER_SIZE],
    pieces: impl Iterator<Item = Piece>,
    index: IndexDigest,
    trailer: &[u8; TRAILER_SIZE],
) -> Result<Summary> {
    let decoded = Header::from_bytes(header)?;
    let mut sequence = Sequence::new(&decoded);
    let mut crc = Crc64::of(header);
    let mut entries = IndexDigest { crc: Crc64::of(b""), len: 0 };
    let mut offset = HEADER_SIZE as u64;
    for (input, piece) in pieces.enumerate() {
        if piece.start != offset {
            return Err(Error::Order { input, rule: "the pieces do not lie side by side" });
        }
        if piece.pages == 0 {
            continue;
        }
        let fail = |rule| Error::Page { pgno: piece.first, offset, rule };
        sequence.accept_run(piece.first, piece.last, piece.pages).map_err(fail)?;
        crc = combine(crc, piece.crc, piece.len);
        entries = IndexDigest {
            crc: combine(entries.crc, piece.index.crc, piece.index.len),
            len: entries.len + piece.index.len,
        };
        offset = piece.end;
    }
    sequence.finish().map_err(|rule| Error::Page { pgno: 0, offset, rule })?;
    offset += PAGE_HEADER as u64;
    if entries.close() != index {
        return Err(Error::Index { offset, rule: "the index does not match the pages" });
    }
    offset += index.len;

    crc = combine(crc, Crc64::of(&END_OF_PAGES), PAGE_HEADER as u64);
    crc = combine(crc, index.crc, index.len);
    crc = combine(crc, Crc64::of(&trailer[..8]), 8);
    let trailer = Trailer::from_bytes(trailer);
    trailer.validate(&decoded, offset)?;
    compare("file checksum", trailer.file_checksum, FLAG | crc)?;
    let size = offset + TRAILER_SIZE as u64;
    Ok(Summary { file_checksum: trailer.file_checksum, size, pages: sequence.pages() })
}
