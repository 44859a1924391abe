//! Writing a sealed file, page by page.
//!
//! Memory: two blocks and the compressed form of one (P7). The rules of order are those of an LTX file: ascending, within the database,
//! never the lock page, and a snapshot has no holes. A snapshot's data includes the lock page as zeros, which is what SQLite keeps there,
//! so that the data is the database file.

use crate::error::{Error, Result};
use crate::sealed::{HEADER, PAGES, clear_part};
use ltx::Header;
use seal::{Options, Recipients, Sealer};
use std::io::{self, Write};

/// Bytes of pages in one zstd frame.
const BLOCK: usize = 1 << 20;
/// The same for databases so large that the number of frames would come near its bound (2^20).
const LARGE_BLOCK: usize = 8 << 20;
const LARGE: u64 = 64 << 30;

/// Writes one file.
pub(crate) struct SealedWriter<W: Write> {
    out: Sealer<Counting<W>>,
    header: Header,
    /// Pages of the current block, and their numbers as runs.
    block: Vec<u8>,
    runs: Vec<(u32, u32)>,
    block_bytes: usize,
    last: u32,
    pages: u64,
}

impl<W: Write> SealedWriter<W> {
    /// Begins.
    pub(crate) fn new(out: W, header: &Header, recipients: &Recipients) -> Result<Self> {
        header.validate().map_err(Error::ltx("sealed file"))?;
        let size = u64::from(header.commit) * header.page_size.bytes() as u64;
        let block_bytes = if size > LARGE { LARGE_BLOCK } else { BLOCK };
        let options =
            Options { block_bytes: block_bytes.max(header.page_size.bytes()), ..Options::default() };
        let counting = Counting { out, written: 0 };
        let mut out =
            Sealer::with_clear(counting, &clear_part(header), recipients, options).map_err(failed)?;
        out.metadata(HEADER, &header.to_bytes()).map_err(failed)?;
        let block = Vec::new();
        Ok(Self { out, header: *header, block, runs: Vec::new(), block_bytes, last: 0, pages: 0 })
    }

    /// Adds a page.
    pub(crate) fn page(&mut self, pgno: u32, page: &[u8]) -> Result<()> {
        let lock = self.header.page_size.lock_page();
        let refused = |rule| Error::ltx("sealed file")(ltx::Error::Encode { pgno, rule });
        if pgno <= self.last || pgno > self.header.commit || pgno == lock {
            return Err(refused("the page is out of order, beyond the end, or the lock page"));
        }
        if page.len() != self.header.page_size.bytes() {
            return Err(refused("the page is not one page long"));
        }
        if self.header.is_snapshot() {
            if pgno == lock + 1 && self.last == lock - 1 {
                self.put(lock, &vec![0; page.len()])?;
            }
            if pgno != self.last + 1 {
                return Err(refused("a page is missing in a snapshot"));
            }
        }
        self.pages += 1;
        self.put(pgno, page)
    }

    /// Completes the file; gives its size.
    pub(crate) fn finish(mut self) -> Result<(W, u64)> {
        let Header { commit, page_size, .. } = self.header;
        if self.header.is_snapshot() {
            if commit == page_size.lock_page() && self.last == commit - 1 {
                self.put(commit, &vec![0; page_size.bytes()])?;
            }
            if self.last != commit {
                let rule = "a page is missing in a snapshot";
                return Err(Error::ltx("sealed file")(ltx::Error::Encode { pgno: self.last, rule }));
            }
        }
        self.end_block()?;
        let Counting { mut out, written } = self.out.finish().map_err(failed)?;
        out.flush().map_err(|e| failed(seal::Error::Io(e)))?;
        Ok((out, written))
    }

    fn put(&mut self, pgno: u32, page: &[u8]) -> Result<()> {
        if self.block.len() + page.len() > self.block_bytes && !self.block.is_empty() {
            self.end_block()?;
        }
        match self.runs.last_mut().filter(|(first, count)| first + count == pgno) {
            Some((_, count)) => *count += 1,
            None => self.runs.push((pgno, 1)),
        }
        self.block.extend_from_slice(page);
        self.last = pgno;
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u8> = (self.runs.iter())
            .flat_map(|(first, count)| [first.to_le_bytes(), count.to_le_bytes()].concat())
            .collect();
        self.out.metadata(PAGES, &numbers).map_err(failed)?;
        self.out.data(&self.block).map_err(failed)?;
        self.out.end_block().map_err(failed)?;
        self.block.clear();
        self.runs.clear();
        Ok(())
    }
}

/// Only the output below can fail, and a rule of the format that our own bounds keep.
fn failed(error: seal::Error) -> Error {
    Error::ltx("sealed file")(ltx::Error::Io(error.into()))
}

/// Counts what goes through.
struct Counting<W> {
    out: W,
    written: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
