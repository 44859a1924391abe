//! A rollback journal as SQLite writes one, so that SQLite rolls back what a killed step left (fileformat2 §3, "The Rollback Journal").
//!
//! Header (one sector): magic, number of records, nonce, size of the database in pages before, sector size, page size. Record: page
//! number, page as it was, checksum (nonce plus every 200th byte from the end). It is durable before the first page is overwritten.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const SECTOR: usize = 512;

/// A journal being filled.
pub(super) struct Journal {
    out: BufWriter<File>,
    nonce: u32,
    pages_before: u32,
    page_size: u32,
    records: u32,
}

impl Journal {
    /// Begins one; it is not hot before [`Journal::seal`], because its number of records is 0.
    pub(super) fn create(path: &Path, nonce: u32, pages_before: u32, page_size: u32) -> io::Result<Journal> {
        let mut out = BufWriter::with_capacity(256 << 10, File::create(path)?);
        out.write_all(&[0; SECTOR])?;
        Ok(Journal { out, nonce, pages_before, page_size, records: 0 })
    }

    /// Adds a page as it is before it is overwritten.
    pub(super) fn page(&mut self, pgno: u32, page: &[u8]) -> io::Result<()> {
        self.out.write_all(&pgno.to_be_bytes())?;
        self.out.write_all(page)?;
        self.out.write_all(&checksum(self.nonce, page).to_be_bytes())?;
        self.records += 1;
        Ok(())
    }

    /// Makes it durable, then valid, then durable again: from here on SQLite would roll back.
    pub(super) fn seal(mut self) -> io::Result<()> {
        self.out.flush()?;
        let mut file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let mut head = [0; 28];
        head[..8].copy_from_slice(&MAGIC);
        for (i, word) in [self.records, self.nonce, self.pages_before, SECTOR as u32, self.page_size]
            .into_iter()
            .enumerate()
        {
            head[8 + 4 * i..12 + 4 * i].copy_from_slice(&word.to_be_bytes());
        }
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&head)?;
        file.sync_all()
    }
}

fn checksum(nonce: u32, page: &[u8]) -> u32 {
    let mut sum = nonce;
    let mut at = page.len() as i64 - 200;
    while at > 0 {
        sum = sum.wrapping_add(u32::from(page[at as usize]));
        at -= 200;
    }
    sum
}
