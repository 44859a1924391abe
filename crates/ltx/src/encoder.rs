//! Writes a file.
//!
//! Nothing leaves here that a reader of the format would refuse: the rules on headers, page order
//! and complete snapshots are checked before a byte is written. A file is worth something only after
//! [`Encoder::finish`]; what was written before an error is not a file and must be thrown away.

use std::io::{self, BufReader, Read, Write};

use crate::checksum::{Crc64, FLAG};
use crate::echo::closing;
use crate::error::{Error, Result};
use crate::header::{HEADER_SIZE, Header};
use crate::index::IndexEntry;
use crate::page::{END_OF_PAGES, PageEncoding, PageWriter};
use crate::sequence::Sequence;
use crate::spool::{MemorySpool, Spool};
use crate::trailer::{TRAILER_SIZE, Trailer};
use crate::varint::{self, Varint};

/// Chunks handed to the spool and to the output while the index is written.
const CHUNK: usize = 4096;

/// What was written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The checksum at the end of the file, bit 63 set.
    pub file_checksum: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Pages in the file.
    pub pages: u64,
}

/// Writes header, pages, index and trailer to `W`, page by page.
pub struct Encoder<W> {
    out: W,
    writer: PageWriter,
    crc: Crc64,
    sequence: Sequence,
    written: u64,
    spool: Box<dyn Spool + Send>,
    pending: Vec<u8>,
    last: u32,
    failed: bool,
}

impl<W: Write> Encoder<W> {
    /// Writes the header. The index waits in memory, three bytes per page.
    pub fn new(out: W, header: Header, encoding: PageEncoding) -> Result<Encoder<W>> {
        Encoder::with_spool(out, header, encoding, MemorySpool::default())
    }

    /// As [`Encoder::new`], with the index waiting in `spool`.
    pub fn with_spool(
        mut out: W,
        header: Header,
        encoding: PageEncoding,
        spool: impl Spool + Send + 'static,
    ) -> Result<Encoder<W>> {
        header.validate()?;
        let bytes = header.to_bytes();
        out.write_all(&bytes)?;
        let mut crc = Crc64::new();
        crc.update(&bytes);
        Ok(Encoder {
            out,
            writer: PageWriter::new(header.page_size, encoding),
            crc,
            sequence: Sequence::new(&header),
            written: HEADER_SIZE as u64,
            spool: Box::new(spool),
            pending: Vec::with_capacity(CHUNK),
            last: 0,
            failed: false,
        })
    }

    /// Writes a page. Page numbers ascend; the lock page is left out.
    pub fn page(&mut self, pgno: u32, page: &[u8]) -> Result<()> {
        self.accept(pgno)?;
        let (frame, prefix) = self.writer.encode(pgno, page).inspect_err(|_| self.failed = true)?;
        self.crc.update(&frame[..prefix]);
        self.crc.update(page);
        let size = frame.len();
        self.out.write_all(frame).inspect_err(|_| self.failed = true)?;
        self.account(pgno, size)
    }

    /// Writes a page that was just decoded from `frame`, without compressing it again. The caller
    /// vouches that the frame has the encoding of this file and is canonical.
    pub(crate) fn relay(&mut self, pgno: u32, page: &[u8], frame: &[u8], prefix: usize) -> Result<()> {
        self.accept(pgno)?;
        self.crc.update(&frame[..prefix]);
        self.crc.update(page);
        self.out.write_all(frame).inspect_err(|_| self.failed = true)?;
        self.account(pgno, frame.len())
    }

    pub(crate) fn encoding(&self) -> PageEncoding {
        self.writer.encoding()
    }

    fn accept(&mut self, pgno: u32) -> Result<()> {
        let rule = if self.failed {
            Err("an earlier page could not be written")
        } else {
            self.sequence.accept(pgno)
        };
        rule.map_err(|rule| Error::Encode { pgno, rule })
    }

    fn account(&mut self, pgno: u32, size: usize) -> Result<()> {
        if self.pending.len() + 2 * varint::MAX > CHUNK {
            self.spool.append(&self.pending).inspect_err(|_| self.failed = true)?;
            self.pending.clear();
        }
        for value in [u64::from(pgno - self.last), size as u64] {
            let mut bytes = [0; varint::MAX];
            let len = varint::put(&mut bytes, value);
            self.pending.extend_from_slice(&bytes[..len]);
        }
        self.last = pgno;
        self.written += size as u64;
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Writes the rest of the file: end of pages, index, trailer. Flushes the output.
    pub fn finish(mut self) -> Result<(W, Summary)> {
        if self.failed {
            return Err(Error::Encode { pgno: 0, rule: "a page could not be written" });
        }
        self.sequence.finish().map_err(|rule| Error::Encode { pgno: 0, rule })?;
        self.spool.append(&self.pending)?;
        let mut tail = Tail { out: self.out, crc: self.crc, written: self.written };
        tail.put(&END_OF_PAGES)?;

        let mut entries = 0;
        let mut offset = HEADER_SIZE as u64;
        let mut pgno = 0u32;
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut replay = BufReader::new(self.spool.replay()?);
        for _ in 0..self.sequence.pages() {
            pgno = pgno.wrapping_add(replayed(&mut replay)? as u32);
            let size = replayed(&mut replay)?;
            IndexEntry { pgno, offset, size }.put(&mut chunk);
            offset += size;
            if chunk.len() + 3 * varint::MAX > CHUNK {
                entries += tail.put(&chunk)?;
                chunk.clear();
            }
        }
        entries += tail.put(&chunk)?;
        tail.put(&closing(entries))?;

        let mut trailer = Trailer { post_apply: 0, file_checksum: 0 };
        tail.crc.update(&trailer.to_bytes()[..8]);
        trailer.file_checksum = FLAG | tail.crc.value();
        tail.out.write_all(&trailer.to_bytes())?;
        tail.out.flush()?;
        let size = tail.written + TRAILER_SIZE as u64;
        let pages = self.sequence.pages();
        Ok((tail.out, Summary { file_checksum: trailer.file_checksum, size, pages }))
    }
}

/// Output whose every byte is hashed and counted.
struct Tail<W> {
    out: W,
    crc: Crc64,
    written: u64,
}

impl<W: Write> Tail<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<u64> {
        self.crc.update(bytes);
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len() as u64)
    }
}

/// The next number of the spool.
fn replayed(spool: &mut impl Read) -> Result<u64> {
    let mut varint = Varint::default();
    loop {
        let mut byte = [0];
        spool.read_exact(&mut byte)?;
        match varint.push(byte[0]) {
            Ok(None) => {}
            Ok(Some(value)) => return Ok(value),
            Err(rule) => return Err(io::Error::new(io::ErrorKind::InvalidData, rule).into()),
        }
    }
}
