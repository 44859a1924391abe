//! One batch becomes one LTX file, staged on the volume before it is sent.
//!
//! Staging makes a resend after a crash byte-identical (P1, P4; `form` makes the object of it), and reading the staged file back is the first proof of it.
//! Growth rule: when the database grew, pages that no WAL frame carried are taken from the caller (SQLite leaves freelist pages
//! unwritten), else later restores stop at a hole. Shrink rule: pages beyond the new size are dropped.

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::state::Mark;
use crate::table::PageTable;
use crate::write::digesting;
use crate::write::form::Plain;
use ltx::checksum::{self, Rolling};
use ltx::{Decoder, Encoder, Extension, Header, PageEncoding, PageSize, Txid};
use sqlite_tail::Position;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Bytes before the first frame of a WAL.
const WAL_HEADER: u64 = 32;

/// What the next level 0 file will say of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    pub(crate) txid: Txid,
    pub(crate) stamp: Extension,
    pub(crate) timestamp_ms: i64,
    /// How far it reaches in the WAL.
    pub(crate) to: Position,
}

impl Next {
    /// The header of the file. Its WAL fields name the beginning of a WAL that does not exist: a Litestream that takes over
    /// would otherwise go on from our position, and lose what was committed while nobody held the WAL; and on a position
    /// before the first frame it stops altogether. So it begins with a full image, as we do.
    pub(crate) fn header(&self, page_size: PageSize, commit: u32, rolling: u64) -> Header {
        Header {
            page_size,
            commit,
            min_txid: self.txid,
            max_txid: self.txid,
            timestamp_ms: self.timestamp_ms,
            wal_offset: WAL_HEADER,
            wal_size: 0,
            wal_salt1: 0,
            wal_salt2: 0,
            node_id: rolling,
            reserved: self.stamp.to_reserved(),
        }
    }
}

/// Writes `batch` to `path`, in plain text, and makes it durable. `fill` gives a page that grew into being without a WAL frame.
pub(crate) fn stage(
    path: &Path,
    batch: &Batch,
    table: &PageTable,
    before: &Mark,
    next: &Next,
    mut fill: impl FnMut(u32, &mut [u8]) -> Result<()>,
) -> Result<(Plain, Mark)> {
    let page_size = PageSize::new(before.page_size).map_err(Error::ltx("page size"))?;
    let commit = batch.db_pages().unwrap_or(before.commit);
    let pages =
        Pages { batch, grown: (before.commit, commit), lock: page_size.lock_page(), size: page_size.bytes() };

    let mut rolling = Rolling::from_value(before.rolling);
    for gone in table.tail(commit)? {
        rolling.replace(Some(gone), None);
    }
    pages.for_each(&mut fill, |pgno, page| {
        rolling.replace(table.get(pgno)?, Some(checksum::page_checksum(pgno, page)));
        Ok(())
    })?;

    let place = path.display().to_string();
    // 0 = not known: a foreign history does not carry it, and nothing is compared with it.
    let rolling = if before.rolling == 0 { 0 } else { rolling.value() };
    let header = next.header(page_size, commit, rolling);
    let mut encoder =
        Encoder::new(digesting::create(path)?, header, PageEncoding::Frame).map_err(Error::ltx(&place))?;
    pages.for_each(&mut fill, |pgno, page| encoder.page(pgno, page).map_err(Error::ltx(&place)))?;
    let (writer, _) = encoder.finish().map_err(Error::ltx(&place))?;
    let staged = digesting::finish(writer, path)?;
    let mark = Mark {
        page_size: before.page_size,
        commit,
        rolling,
        timestamp_ms: next.timestamp_ms,
        position: next.to.into(),
    };
    Ok((staged, mark))
}

/// Carries the page table forward by a staged file. Idempotent: redone after a crash.
pub(crate) fn apply(path: &Path, table: &mut PageTable) -> Result<()> {
    carry(File::open(path).map_err(Error::io(path, "open"))?, path, table)
}

/// As [`apply`], of a file that was opened at `path`.
pub(crate) fn carry(staged: File, path: &Path, table: &mut PageTable) -> Result<()> {
    let place = path.display().to_string();
    let mut decoder = Decoder::new(BufReader::new(staged)).map_err(Error::ltx(&place))?;
    let (commit, size) = (decoder.header().commit, decoder.header().page_size.bytes());
    let mut page = vec![0; size];
    table.truncate(commit)?;
    while let Some(pgno) = decoder.next_page(&mut page).map_err(Error::ltx(&place))? {
        table.set(pgno, checksum::page_checksum(pgno, &page))?;
    }
    table.sync()
}

/// Reads a kept file to its end and proves it.
pub(crate) fn prove(path: &Path) -> Result<()> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let decoder = Decoder::new(file).map_err(Error::ltx(&place))?;
    decoder.finish().map(drop).map_err(Error::ltx(&place))
}

/// The pages of a file: the batch within the new size, and what grew without a frame.
struct Pages<'a> {
    batch: &'a Batch,
    grown: (u32, u32),
    lock: u32,
    size: usize,
}

impl Pages<'_> {
    fn for_each(
        &self,
        fill: &mut impl FnMut(u32, &mut [u8]) -> Result<()>,
        mut each: impl FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (old, commit) = self.grown;
        let mut grown_next = old + 1;
        let mut buffer = vec![0; self.size];
        let mut fill_until =
            |end: u32, next: &mut u32, each: &mut dyn FnMut(u32, &[u8]) -> Result<()>| -> Result<()> {
                while *next < end && *next <= commit {
                    if *next != self.lock {
                        fill(*next, &mut buffer)?;
                        each(*next, &buffer)?;
                    }
                    *next += 1;
                }
                Ok(())
            };
        self.batch.for_each(|pgno, page| {
            if pgno > commit || pgno == self.lock {
                return Ok(());
            }
            fill_until(pgno, &mut grown_next, &mut each)?;
            grown_next = grown_next.max(pgno + 1);
            each(pgno, page)
        })?;
        fill_until(commit.saturating_add(1), &mut grown_next, &mut each)
    }
}
