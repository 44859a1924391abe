//! Snapshot and WALs become a database file without SQLite: page by page, whole transactions only (P2).

use super::spool::Wal;
use crate::error::{Error, Result};
use sqlite_tail::wal::{FRAME_HEADER, HEADER, WalReader};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file being put together.
pub(super) struct Database {
    file: File,
    temp: PathBuf,
    page_size: u32,
    len: u64,
}

impl Database {
    pub(super) fn new(file: &File, temp: &Path) -> Result<Database> {
        let file = file.try_clone().map_err(Error::io(temp, "write"))?;
        Ok(Database { file, temp: temp.to_owned(), page_size: 0, len: 0 })
    }

    /// Bytes of the database.
    pub(super) fn bytes(&self) -> u64 {
        self.len
    }

    /// Writes the snapshot.
    pub(super) fn begin(mut self, from: &mut dyn Read) -> Result<Database> {
        let mut chunk = vec![0; 256 << 10];
        let mut head = Vec::new();
        loop {
            let n = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.damaged(format!("the snapshot cannot be unpacked: {e}"))),
            };
            if head.len() < 100 {
                head.extend_from_slice(&chunk[..n.min(100 - head.len())]);
            }
            self.file.write_all_at(&chunk[..n], self.len).map_err(Error::io(&self.temp, "write"))?;
            self.len += n as u64;
        }
        if head.is_empty() {
            // Replicated before the application had written anything: its WAL holds all.
            return Ok(self);
        }
        if head.len() < 100 || !head.starts_with(b"SQLite format 3\0") {
            return Err(self.damaged("the snapshot is no SQLite database".into()));
        }
        let Some(page_size) = sqlite_tail::page_size(&head) else {
            return Err(self.damaged("the header of the snapshot names no size of pages".into()));
        };
        self.page_size = page_size;
        Ok(self)
    }

    /// Applies the whole transactions of a WAL. What lies behind the last valid commit was never committed, or not sent.
    pub(super) fn apply(mut self, mut wal: Wal) -> Result<Database> {
        let failed = || Error::io(&self.temp, "read a WAL for");
        let Some(mut reader) = WalReader::open(wal.reader()?).map_err(failed())? else { return Ok(self) };
        let (mut last, mut commit) = (0, 0);
        while let Some((header, _)) = reader.next_frame().map_err(failed())? {
            if header.commit > 0 {
                (last, commit) = (reader.frame(), header.commit);
            }
        }
        let page_size = reader.header().page_size;
        // Only valid frames were ever sent. Where a frame does not continue the chain, what is behind it is lost, and must not be
        // passed over: the next WAL would be applied to a state that never was (P2).
        let frame = FRAME_HEADER as u64 + u64::from(page_size);
        let read = HEADER as u64 + u64::from(reader.frame()) * frame;
        if wal.len().saturating_sub(read) >= frame {
            let what = format!("frame {} of a WAL does not continue the frame before it", reader.frame() + 1);
            return Err(self.damaged(what));
        }
        if self.page_size != 0 && page_size != self.page_size {
            let what = format!("a WAL has pages of {page_size} bytes, the snapshot of {}", self.page_size);
            return Err(self.damaged(what));
        }
        self.page_size = page_size;
        let Some(mut reader) = WalReader::open(wal.reader()?).map_err(failed())? else { return Ok(self) };
        while reader.frame() < last {
            let Some((header, page)) = reader.next_frame().map_err(failed())? else { break };
            let offset = u64::from(header.pgno - 1) * u64::from(page_size);
            self.file.write_all_at(page, offset).map_err(Error::io(&self.temp, "write"))?;
        }
        if last > 0 {
            self.len = u64::from(commit) * u64::from(page_size);
            self.file.set_len(self.len).map_err(Error::io(&self.temp, "size"))?;
        }
        Ok(self)
    }

    fn damaged(&self, what: String) -> Error {
        Error::Damaged { what, hint: "restore a point before it with --timestamp (`restore list`)".into() }
    }
}
