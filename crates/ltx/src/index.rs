//! The page index: where each page begins and how long it is.
//!
//! It lets a reader fetch single pages, and a restore cut a file into runs that are decoded in
//! parallel. It is believed only after it was compared with the pages themselves (P2): whoever
//! decodes pages keeps an [`Echo`](crate::echo::Echo), the checksum of the index those pages must have.
//!
//! The index grows with the number of pages, so it is read as a stream (P7).

use std::io::{ErrorKind, Read};

use crate::checksum::Crc64;
use crate::echo::IndexDigest;
use crate::error::{Error, Result};
use crate::header::{HEADER_SIZE, Header};
use crate::page::{END_OF_PAGES, PAGE_HEADER, max_page_frame};
use crate::sequence::Sequence;
use crate::trailer::{TRAILER_SIZE, Trailer};
use crate::varint::{self, Varint};

/// The length field after the entries.
pub(crate) const LENGTH: usize = 8;

/// Where a page frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Page number.
    pub pgno: u32,
    /// Absolute offset of the page frame.
    pub offset: u64,
    /// Bytes of the page frame.
    pub size: u64,
}

impl IndexEntry {
    /// As stored: three varints.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        for value in [u64::from(self.pgno), self.offset, self.size] {
            let mut bytes = [0; varint::MAX];
            let len = varint::put(&mut bytes, value);
            out.extend_from_slice(&bytes[..len]);
        }
    }
}

/// What [`parse_index_tail`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexTail<'a> {
    /// The tail holds the whole index.
    Complete {
        /// Entries, terminator and length field: what [`IndexReader`] and
        /// [`verify_pieces`](crate::verify_pieces) take.
        index: &'a [u8],
        /// Where the index begins in the file.
        offset: u64,
        /// The trailer behind it.
        trailer: Trailer,
    },
    /// The tail is too short: read the file again from this offset to its end.
    NeedFrom(u64),
}

/// Finds the page index in the last bytes of a file of `file_size` bytes.
///
/// The tail must reach back to the end-of-pages mark before the index, which is checked here because
/// no piece of pages contains it.
pub fn parse_index_tail(tail: &[u8], file_size: u64) -> Result<IndexTail<'_>> {
    const FIXED: u64 = (LENGTH + TRAILER_SIZE) as u64;
    const BEFORE: u64 = (HEADER_SIZE + PAGE_HEADER) as u64;
    if file_size < BEFORE + 1 + FIXED {
        return Err(Error::Truncated { offset: file_size });
    }
    let fail = |rule| Error::Index { offset: file_size - FIXED, rule };
    if tail.len() as u64 > file_size {
        return Err(fail("the tail is longer than the file"));
    }
    let Some((rest, trailer)) = tail.split_last_chunk::<TRAILER_SIZE>() else {
        return Ok(IndexTail::NeedFrom(file_size - FIXED));
    };
    let Some((_, length)) = rest.split_last_chunk::<LENGTH>() else {
        return Ok(IndexTail::NeedFrom(file_size - FIXED));
    };
    let entries = u64::from_be_bytes(*length);
    if entries == 0 || entries > file_size - FIXED - BEFORE {
        return Err(fail("index length does not fit the file"));
    }
    let offset = file_size - FIXED - entries;
    let pages_end = offset - PAGE_HEADER as u64;
    let Some(skip) = pages_end.checked_sub(file_size - tail.len() as u64) else {
        return Ok(IndexTail::NeedFrom(pages_end));
    };
    match rest[skip as usize..].split_first_chunk::<PAGE_HEADER>() {
        Some((&END_OF_PAGES, index)) => {
            Ok(IndexTail::Complete { index, offset, trailer: Trailer::from_bytes(trailer) })
        }
        _ => Err(Error::Page { pgno: 0, offset: pages_end, rule: "no end of pages before the index" }),
    }
}

/// Reads the entries of an index one after the other and checks them strictly: pages in order and
/// complete where they must be, frames side by side from the header to the end of the pages, nothing
/// behind the length field.
pub struct IndexReader<R> {
    bytes: R,
    buf: Box<[u8]>,
    at: usize,
    end: usize,
    /// Offset in the file of the next index byte.
    offset: u64,
    start: u64,
    crc: Crc64,
    sequence: Sequence,
    longest: u64,
    next_page: u64,
    done: bool,
    digest: Option<IndexDigest>,
}

impl<R: Read> IndexReader<R> {
    /// `bytes` holds the index and its length field and nothing else (a slice, or a stream limited
    /// with [`Read::take`]); `offset` is where it begins in the file.
    pub fn new(bytes: R, header: &Header, offset: u64) -> IndexReader<R> {
        IndexReader {
            bytes,
            buf: vec![0; 4096].into_boxed_slice(),
            at: 0,
            end: 0,
            offset,
            start: offset,
            crc: Crc64::new(),
            sequence: Sequence::new(header),
            longest: max_page_frame(header.page_size) as u64,
            next_page: HEADER_SIZE as u64,
            done: false,
            digest: None,
        }
    }

    /// Checksum and length of the index, once the last entry was read without error; for
    /// [`verify_parts`](crate::verify_parts).
    pub fn digest(&self) -> Option<IndexDigest> {
        self.digest
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        while self.at == self.end {
            match self.bytes.read(&mut self.buf) {
                Ok(0) => return Ok(None),
                Ok(n) => (self.at, self.end) = (0, n),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            }
            self.crc.update(&self.buf[..self.end]);
        }
        self.at += 1;
        self.offset += 1;
        Ok(Some(self.buf[self.at - 1]))
    }

    fn must_byte(&mut self) -> Result<u8> {
        self.byte()?.ok_or(Error::Truncated { offset: self.offset })
    }

    fn varint(&mut self) -> Result<u64> {
        let mut varint = Varint::default();
        loop {
            let offset = self.offset;
            let byte = self.must_byte()?;
            if let Some(value) = varint.push(byte).map_err(|rule| Error::Index { offset, rule })? {
                return Ok(value);
            }
        }
    }

    fn entry(&mut self) -> Result<Option<IndexEntry>> {
        let offset = self.offset;
        let fail = |rule| Error::Index { offset, rule };
        let pgno = self.varint()?;
        if pgno == 0 {
            self.finish()?;
            return Ok(None);
        }
        let pgno = u32::try_from(pgno).map_err(|_| fail("page number exceeds 32 bits"))?;
        self.sequence.accept(pgno).map_err(fail)?;
        let entry = IndexEntry { pgno, offset: self.varint()?, size: self.varint()? };
        if entry.offset != self.next_page {
            return Err(fail("pages do not lie side by side"));
        }
        if entry.size <= PAGE_HEADER as u64 || entry.size > self.longest {
            return Err(fail("page frame size out of range"));
        }
        self.next_page += entry.size;
        Ok(Some(entry))
    }

    fn finish(&mut self) -> Result<()> {
        let offset = self.offset;
        let fail = |rule| Error::Index { offset, rule };
        self.sequence.finish().map_err(fail)?;
        if self.next_page + PAGE_HEADER as u64 != self.start {
            return Err(fail("the index does not begin where the pages end"));
        }
        let mut length = [0; LENGTH];
        for byte in &mut length {
            *byte = self.must_byte()?;
        }
        if u64::from_be_bytes(length) != offset - self.start {
            return Err(fail("the length field differs from the length of the index"));
        }
        if self.byte()?.is_some() {
            return Err(fail("bytes after the index"));
        }
        self.digest = Some(IndexDigest { crc: self.crc.value(), len: self.offset - self.start });
        Ok(())
    }
}

impl<R: Read> Iterator for IndexReader<R> {
    type Item = Result<IndexEntry>;

    /// Ends after the first error.
    fn next(&mut self) -> Option<Result<IndexEntry>> {
        if self.done {
            return None;
        }
        let entry = self.entry();
        self.done = !matches!(entry, Ok(Some(_)));
        entry.transpose()
    }
}

#[cfg(test)]
mod tests;
