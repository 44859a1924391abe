//! Decodes a file that is in memory as a whole: no window, no copy, and the buffer for a page is the caller's.

use crate::checksum::{Crc64, FLAG, Rolling, page_checksum};
use crate::decoder::compare;
use crate::echo::{Echo, IndexDigest};
use crate::encoder::Summary;
use crate::error::{Error, Result};
use crate::header::{HEADER_SIZE, Header};
use crate::page::{END_OF_PAGES, PAGE_HEADER, decode_page_at};
use crate::sequence::Sequence;
use crate::trailer::{TRAILER_SIZE, Trailer};

/// Decodes `bytes`, one file from beginning to end, and hands each page to `each`.
///
/// `page` is resized to one page. The pages are to be believed only if this returns `Ok`: it proves what [`Decoder`](crate::Decoder)
/// proves, and fails as that does (P2).
pub fn decode_whole(
    bytes: &[u8],
    page: &mut Vec<u8>,
    each: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
) -> Result<Summary> {
    let size = bytes.len() as u64;
    let short = || Error::Truncated { offset: size };
    let head = bytes.first_chunk::<HEADER_SIZE>().ok_or_else(short)?;
    let header = Header::from_bytes(head)?;
    let mut crc = Crc64::new();
    crc.update(head);
    let mut sequence = Sequence::new(&header);
    let mut echo = Echo::new(HEADER_SIZE as u64);
    // Only a complete image says what the checksum of the database must be.
    let mut rolling = (header.is_checksum_tracked() && header.is_snapshot()).then(Rolling::empty);
    let mut rest = &bytes[HEADER_SIZE..];
    page.resize(header.page_size.bytes(), 0);
    while !rest.starts_with(&END_OF_PAGES) {
        let offset = echo.offset;
        let frame = decode_page_at(rest, offset, header.page_size, page)?;
        sequence.accept(frame.pgno).map_err(|rule| Error::Page { pgno: frame.pgno, offset, rule })?;
        crc.update(&rest[..frame.hashed_prefix]);
        crc.update(page);
        if let Some(rolling) = &mut rolling {
            rolling.replace(None, Some(page_checksum(frame.pgno, page)));
        }
        echo.push(frame.pgno, frame.consumed as u64);
        rest = &rest[frame.consumed..];
        each(frame.pgno, page)?;
    }
    let offset = echo.offset + PAGE_HEADER as u64;
    sequence.finish().map_err(|rule| Error::Page { pgno: 0, offset, rule })?;
    let expected = echo.close();
    let index = rest[PAGE_HEADER..].get(..expected.len as usize).ok_or_else(short)?;
    if IndexDigest::of(index) != expected {
        return Err(Error::Index { offset, rule: "the index does not match the pages" });
    }
    let rest = &rest[PAGE_HEADER + index.len()..];
    let (trailer, beyond) = rest.split_first_chunk::<TRAILER_SIZE>().ok_or_else(short)?;
    crc.update(&END_OF_PAGES);
    crc.update(index);
    crc.update(&trailer[..8]);
    let trailer = Trailer::from_bytes(trailer);
    trailer.validate(&header, offset + expected.len)?;
    compare("file checksum", trailer.file_checksum, FLAG | crc.value())?;
    if let Some(rolling) = rolling {
        compare("post-apply checksum", trailer.post_apply, rolling.value())?;
    }
    if !beyond.is_empty() {
        return Err(Error::Trailer { offset: size - beyond.len() as u64, rule: "bytes after the trailer" });
    }
    Ok(Summary { file_checksum: trailer.file_checksum, size, pages: sequence.pages() })
}
