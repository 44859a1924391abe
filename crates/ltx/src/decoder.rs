//! Reads a file from beginning to end.
//!
//! Pages come out as they are read; whether they are to be believed is known only at the end, when
//! [`Decoder::next_page`] returns `None` and index, checksums and order have been proven (P2).
//! Whoever writes pages elsewhere meanwhile does so under a temporary name.
//!
//! Memory: a window of two page frames, at least 32 KiB, whatever the file claims (P7). The index is
//! not kept, its expected checksum is.

use std::io::{ErrorKind, Read};

use crate::checksum::{Crc64, FLAG, Rolling, page_checksum};
use crate::echo::{Echo, IndexDigest};
use crate::encoder::Summary;
use crate::error::{Error, Result};
use crate::header::{DecodedHeader, HEADER_SIZE, Header};
use crate::page::{END_OF_PAGES, PAGE_HEADER, PageFrame, decode_page_at, max_page_frame};
use crate::sequence::Sequence;
use crate::trailer::{TRAILER_SIZE, Trailer};
use crate::window::Window;

/// Index bytes hashed at a time.
const CHUNK: usize = 16 * 1024;

enum State {
    Pages(Box<Echo>),
    Done(Summary),
    Failed,
}

/// Reads header, pages, index and trailer from `R`, which must end where the file ends.
pub struct Decoder<R> {
    window: Window<R>,
    header: DecodedHeader,
    crc: Crc64,
    sequence: Sequence,
    rolling: Option<Rolling>,
    last: Option<PageFrame>,
    state: State,
}

impl<R: Read> Decoder<R> {
    /// Reads and checks the header.
    pub fn new(mut reader: R) -> Result<Decoder<R>> {
        let mut bytes = [0; HEADER_SIZE];
        let mut have = 0;
        while have < HEADER_SIZE {
            match reader.read(&mut bytes[have..]) {
                Ok(0) => return Err(Error::Truncated { offset: have as u64 }),
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        let header = Header::from_bytes(&bytes)?;
        let mut crc = Crc64::new();
        crc.update(&bytes);
        // Only a complete image says what the checksum of the database must be.
        let rolling = (header.is_checksum_tracked() && header.is_snapshot()).then(Rolling::empty);
        Ok(Decoder {
            window: Window::new(reader, max_page_frame(header.page_size), HEADER_SIZE as u64),
            header,
            crc,
            sequence: Sequence::new(&header),
            rolling,
            last: None,
            state: State::Pages(Box::new(Echo::new(HEADER_SIZE as u64))),
        })
    }

    /// The header of the file.
    pub fn header(&self) -> &DecodedHeader {
        &self.header
    }

    /// Decodes the next page into `page`, one page long, and returns its number.
    ///
    /// `None` means that the whole file was read and proven. After an error there are only errors.
    pub fn next_page(&mut self, page: &mut [u8]) -> Result<Option<u32>> {
        let state = std::mem::replace(&mut self.state, State::Failed);
        match state {
            State::Pages(mut echo) => match self.decode(&mut echo, page)? {
                Some(pgno) => {
                    self.state = State::Pages(echo);
                    Ok(Some(pgno))
                }
                None => {
                    self.state = State::Done(self.prove(*echo)?);
                    Ok(None)
                }
            },
            State::Done(summary) => {
                self.state = State::Done(summary);
                Ok(None)
            }
            State::Failed => Err(Error::Page {
                pgno: 0,
                offset: self.window.offset(),
                rule: "an earlier page could not be read",
            }),
        }
    }

    /// What was read; `None` until the file is proven.
    pub fn summary(&self) -> Option<Summary> {
        match self.state {
            State::Done(summary) => Some(summary),
            _ => None,
        }
    }

    /// Reads what is left and proves the file.
    pub fn finish(mut self) -> Result<Summary> {
        let mut page = vec![0; self.header.page_size.bytes()];
        loop {
            if let Some(summary) = self.summary() {
                return Ok(summary);
            }
            self.next_page(&mut page)?;
        }
    }

    /// The page frame that [`Decoder::next_page`] just decoded, when an encoder could have written
    /// the very same bytes. Gone after the next call.
    pub(crate) fn relayable(&self) -> Option<(&[u8], PageFrame)> {
        let frame = self.last.filter(|frame| frame.canonical)?;
        Some((self.window.behind(frame.consumed), frame))
    }

    fn decode(&mut self, echo: &mut Echo, page: &mut [u8]) -> Result<Option<u32>> {
        let offset = self.window.offset();
        self.last = None;
        let bytes = self.window.fill(max_page_frame(self.header.page_size))?;
        if bytes.starts_with(&END_OF_PAGES) {
            self.crc.update(&END_OF_PAGES);
            self.window.consume(PAGE_HEADER);
            return Ok(None);
        }
        let frame = decode_page_at(bytes, offset, self.header.page_size, page)?;
        let fail = |rule| Error::Page { pgno: frame.pgno, offset, rule };
        self.sequence.accept(frame.pgno).map_err(fail)?;
        self.crc.update(&bytes[..frame.hashed_prefix]);
        self.crc.update(page);
        if let Some(rolling) = &mut self.rolling {
            rolling.replace(None, Some(page_checksum(frame.pgno, page)));
        }
        echo.push(frame.pgno, frame.consumed as u64);
        self.window.consume(frame.consumed);
        self.last = Some(frame);
        Ok(Some(frame.pgno))
    }

    /// Everything after the pages.
    fn prove(&mut self, echo: Echo) -> Result<Summary> {
        let offset = self.window.offset();
        self.sequence.finish().map_err(|rule| Error::Page { pgno: 0, offset, rule })?;
        self.prove_index(echo.close())?;

        let offset = self.window.offset();
        let bytes = self.window.fill(TRAILER_SIZE)?;
        let trailer = *bytes
            .first_chunk::<TRAILER_SIZE>()
            .ok_or(Error::Truncated { offset: offset + bytes.len() as u64 })?;
        self.window.consume(TRAILER_SIZE);
        self.crc.update(&trailer[..8]);
        let trailer = Trailer::from_bytes(&trailer);
        trailer.validate(&self.header, offset)?;
        compare("file checksum", trailer.file_checksum, FLAG | self.crc.value())?;
        if let Some(rolling) = self.rolling {
            compare("post-apply checksum", trailer.post_apply, rolling.value())?;
        }
        let size = self.window.offset();
        if !self.window.fill(1)?.is_empty() {
            return Err(Error::Trailer { offset: size, rule: "bytes after the trailer" });
        }
        Ok(Summary { file_checksum: trailer.file_checksum, size, pages: self.sequence.pages() })
    }

    fn prove_index(&mut self, expected: IndexDigest) -> Result<()> {
        let offset = self.window.offset();
        let mut crc = Crc64::new();
        let mut left = expected.len;
        while left > 0 {
            let at = self.window.offset();
            let bytes = self.window.fill(left.min(CHUNK as u64) as usize)?;
            let take = (bytes.len() as u64).min(left) as usize;
            if take == 0 {
                return Err(Error::Truncated { offset: at });
            }
            crc.update(&bytes[..take]);
            self.crc.update(&bytes[..take]);
            self.window.consume(take);
            left -= take as u64;
        }
        if crc.value() != expected.crc {
            return Err(Error::Index { offset, rule: "the index does not match the pages" });
        }
        Ok(())
    }
}

/// Compares a checksum of the file with a computed one.
pub(crate) fn compare(what: &'static str, expected: u64, actual: u64) -> Result<()> {
    if expected == actual { Ok(()) } else { Err(Error::Checksum { what, expected, actual }) }
}
