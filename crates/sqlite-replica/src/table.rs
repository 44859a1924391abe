//! The checksum of every page as the replica has it: 8 bytes per page in a file beside the database.
//!
//! It is what a start compares the database with when the position in the WAL cannot be proven (a page diff instead of a
//! full image), and what the rolling checksum of the whole database is carried forward from. Kept on disk, so that
//! memory does not grow with the database (P7). Entry `n` (little-endian u64) is page `n + 1`; 0 = page absent.
//! Updates are idempotent and are redone from the staged file after a crash.

use crate::error::{Error, Result};
use ltx::checksum::Rolling;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// Entries written at a time when all are.
const RUN: usize = 8192;

/// Page checksums on disk.
#[derive(Debug)]
pub(crate) struct PageTable {
    file: File,
    path: PathBuf,
    pages: u32,
}

impl PageTable {
    /// Opens or creates the table.
    pub(crate) fn open(path: &Path) -> Result<PageTable> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io(path, "open the page table"))?;
        let len = file.metadata().map_err(Error::io(path, "stat the page table"))?.len();
        Ok(PageTable { file, path: path.to_owned(), pages: (len / 8) as u32 })
    }

    /// A table of `pages` absent pages, to be filled in any order with [`PageTable::put`].
    pub(crate) fn scattered(path: &Path, pages: u32) -> Result<PageTable> {
        let mut table = PageTable::open(path)?;
        table.truncate(0)?;
        table.file.set_len(u64::from(pages) * 8).map_err(Error::io(path, "size the page table"))?;
        table.pages = pages;
        Ok(table)
    }

    /// Sets the checksums of pages from `first` on, which the table has room for.
    pub(crate) fn put(&self, first: u32, checksums: &[u64]) -> std::io::Result<()> {
        let bytes: Vec<u8> = checksums.iter().flat_map(|c| c.to_le_bytes()).collect();
        self.file.write_all_at(&bytes, offset(first))
    }

    /// Pages it has room for.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// The checksum of the database that has exactly these pages.
    pub(crate) fn rolling(&self) -> Result<Rolling> {
        let mut rolling = Rolling::empty();
        self.each_chunk(|_, chunk| {
            let (entries, _) = chunk.as_chunks();
            for entry in entries {
                rolling.replace(None, Some(u64::from_le_bytes(*entry)).filter(|sum| *sum != 0));
            }
            Ok(())
        })?;
        Ok(rolling)
    }

    /// All entries in ascending order, a few at a time (P7), each time with their offset in the file.
    fn each_chunk(&self, mut visit: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let (mut from, end) = (0, u64::from(self.pages) * 8);
        let mut chunk = vec![0; CHUNK];
        while from < end {
            let piece = &mut chunk[..(end - from).min(CHUNK as u64) as usize];
            self.file.read_exact_at(piece, from).map_err(Error::io(&self.path, "read the page table"))?;
            visit(from, piece)?;
            from += piece.len() as u64;
        }
        Ok(())
    }

    /// Checksum of a page, `None` if the replica does not have it.
    pub(crate) fn get(&self, pgno: u32) -> Result<Option<u64>> {
        if pgno > self.pages {
            return Ok(None);
        }
        let mut bytes = [0; 8];
        self.file
            .read_exact_at(&mut bytes, offset(pgno))
            .map_err(Error::io(&self.path, "read the page table"))?;
        Ok(Some(u64::from_le_bytes(bytes)).filter(|c| *c != 0))
    }

    /// Sets the checksum of a page.
    pub(crate) fn set(&mut self, pgno: u32, checksum: u64) -> Result<()> {
        self.put(pgno, &[checksum]).map_err(Error::io(&self.path, "write the page table"))?;
        self.pages = self.pages.max(pgno);
        Ok(())
    }

    /// All entries anew: the pages of a database in ascending order, without a gap.
    pub(crate) fn fill(&mut self) -> Result<Filling<'_>> {
        self.truncate(0)?;
        Ok(Filling { table: self, run: Vec::with_capacity(RUN), rolling: Rolling::empty() })
    }

    fn set_run(&mut self, first: u32, checksums: &[u64]) -> Result<()> {
        self.put(first, checksums).map_err(Error::io(&self.path, "write the page table"))?;
        self.pages = self.pages.max(first + checksums.len() as u32 - 1);
        Ok(())
    }

    /// Drops the entries of pages beyond `commit`; gives what they were, so that a rolling checksum can follow.
    pub(crate) fn tail(&self, commit: u32) -> Result<Vec<u64>> {
        ((commit + 1)..=self.pages).filter_map(|p| self.get(p).transpose()).collect()
    }

    /// Cuts the table to `commit` pages.
    pub(crate) fn truncate(&mut self, commit: u32) -> Result<()> {
        if commit < self.pages {
            self.file.set_len(u64::from(commit) * 8).map_err(Error::io(&self.path, "cut the page table"))?;
            self.pages = commit;
        }
        Ok(())
    }

    /// Whether what is open is what lies at its path. A volume that does not say is not asked again.
    pub(crate) fn is_in_place(&self) -> bool {
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
            (_, Err(e)) => e.kind() != std::io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }

    /// The file was removed while it was open: its content goes there again, by rename, since what lies there may be this very file.
    pub(crate) fn put_back(&mut self) -> Result<()> {
        let new = self.path.with_extension("new");
        let mut anew = PageTable::open(&new)?;
        anew.truncate(0)?;
        self.each_chunk(|from, chunk| {
            anew.file.write_all_at(chunk, from).map_err(Error::io(&new, "write the page table"))
        })?;
        anew.sync()?;
        std::fs::rename(&new, &self.path).map_err(Error::io(&self.path, "put back the page table"))?;
        self.file = anew.file;
        Ok(())
    }

    /// Makes the table durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path, "sync the page table"))
    }
}

/// A table that is being filled, see [`PageTable::fill`].
pub(crate) struct Filling<'t> {
    table: &'t mut PageTable,
    run: Vec<u64>,
    rolling: Rolling,
}

impl Filling<'_> {
    /// The next page; `None` for the lock page.
    pub(crate) fn push(&mut self, checksum: Option<u64>) -> Result<()> {
        self.rolling.replace(None, checksum);
        self.run.push(checksum.unwrap_or(0));
        if self.run.len() == RUN { self.write() } else { Ok(()) }
    }

    /// Makes the table durable; gives the checksum of the database.
    pub(crate) fn finish(mut self) -> Result<Rolling> {
        self.write()?;
        self.table.sync()?;
        Ok(self.rolling)
    }

    fn write(&mut self) -> Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        let first = self.table.pages + 1;
        self.table.set_run(first, &self.run)?;
        self.run.clear();
        Ok(())
    }
}

fn offset(pgno: u32) -> u64 {
    u64::from(pgno - 1) * 8
}
