//! The file that others read: its locks, its journal, its header.

use super::Scratch;
use super::journal::Journal;
use crate::error::{Error, Result};
use crate::restore::target::{parent, with_suffix};
use ltx::{Header, Txid};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long readers are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The open copy. The connection gives the locks; the file, never closed before it, takes the pages (closing any descriptor of a
/// file drops a process's POSIX locks on it, trap 7).
#[derive(Debug)]
pub(super) struct Standby {
    locks: Connection,
    file: File,
    path: PathBuf,
}

impl Standby {
    /// Opens a restored database; turns a WAL header into a rollback-journal one first, when nobody has it open yet.
    pub(super) fn open(path: &Path) -> Result<Standby> {
        let failed = || Error::io(path, "open as a standby");
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed())?;
        let mut modes = [0; 2];
        file.read_exact_at(&mut modes, 18).map_err(failed())?;
        if modes != [1, 1] {
            file.write_all_at(&[1, 1], 18).and_then(|()| file.sync_all()).map_err(failed())?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).and_then(|locks| {
            locks.busy_timeout(PATIENCE)?;
            // Reading once rolls back what a killed step left.
            locks.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
            Ok(locks)
        });
        let locks = opened.map_err(|e| sqlite(path, "open as a standby", e))?;
        Ok(Standby { locks, file, path: path.to_owned() })
    }

    /// Brings the copy to the gathered state, atomically for readers and over a crash. Gives the number of pages written.
    pub(super) fn apply(&mut self, pages: &Scratch, header: &Header) -> Result<u64> {
        self.locks.execute_batch("BEGIN EXCLUSIVE").map_err(|e| sqlite(&self.path, "lock", e))?;
        let done = self.overwrite(pages, header);
        // Nothing was written through this connection; ending the transaction gives the locks back.
        let ended = self.locks.execute_batch("ROLLBACK");
        let written = done?;
        ended.map_err(|e| sqlite(&self.path, "unlock", e))?;
        Ok(written)
    }

    fn overwrite(&self, pages: &Scratch, header: &Header) -> Result<u64> {
        let journal_path = with_suffix(&self.path, "-journal");
        let failed = |doing| Error::io(&self.path, doing);
        let size = header.page_size.bytes();
        let before = self.file.metadata().map_err(failed("look at"))?.len();
        let pages_before = (before / size as u64) as u32;
        let counter = self.counter().map_err(failed("read"))?.wrapping_add(1);
        let (mut old, mut changed) = (vec![0; size], Vec::new());
        let mut journal =
            Journal::create(&journal_path, counter ^ 0x5a5a_a5a5, pages_before, header.page_size.get())
                .map_err(failed("begin a journal of"))?;
        let mut kept = [false; 1];
        pages.for_each(|pgno, page| {
            if pgno > pages_before {
                changed.push(pgno);
                return Ok(());
            }
            self.file.read_exact_at(&mut old, offset(pgno, size)).map_err(failed("read"))?;
            if old != page || pgno == 1 {
                kept[0] |= pgno == 1;
                journal.page(pgno, &old).map_err(failed("write a journal of"))?;
                changed.push(pgno);
            }
            Ok(())
        })?;
        // Page 1 changes always: its counter is what tells readers that their caches are old.
        if !kept[0] && pages_before > 0 {
            self.file.read_exact_at(&mut old, 0).map_err(failed("read"))?;
            journal.page(1, &old).map_err(failed("write a journal of"))?;
        }
        // Pages that a smaller database no longer has would be lost to a rollback as well.
        for pgno in header.commit + 1..=pages_before {
            self.file.read_exact_at(&mut old, offset(pgno, size)).map_err(failed("read"))?;
            journal.page(pgno, &old).map_err(failed("write a journal of"))?;
        }
        journal.seal().map_err(failed("write a journal of"))?;
        sync_dir(&self.path).map_err(failed("sync the directory of"))?;

        let mut next = changed.iter().copied().peekable();
        pages.for_each(|pgno, page| {
            if next.next_if_eq(&pgno).is_some() {
                self.file.write_all_at(page, offset(pgno, size)).map_err(failed("write"))?;
            }
            Ok(())
        })?;
        self.file.set_len(u64::from(header.commit) * size as u64).map_err(failed("size"))?;
        self.file.write_all_at(&[1, 1], 18).map_err(failed("write"))?;
        // The counter, and "the size in the header was written with it".
        let mut version = [0; 4];
        self.file.read_exact_at(&mut version, 96).map_err(failed("read"))?;
        for (at, word) in
            [(24, counter.to_be_bytes()), (28, header.commit.to_be_bytes()), (92, counter.to_be_bytes())]
        {
            self.file.write_all_at(&word, at).map_err(failed("write"))?;
        }
        self.file.sync_all().map_err(failed("sync"))?;
        // This is the commit.
        fs::remove_file(&journal_path).map_err(failed("remove the journal of"))?;
        sync_dir(&self.path).map_err(failed("sync the directory of"))?;
        Ok(changed.len() as u64)
    }

    fn counter(&self) -> io::Result<u32> {
        let mut word = [0; 4];
        self.file.read_exact_at(&mut word, 24)?;
        Ok(u32::from_be_bytes(word))
    }

    /// Notes how far the copy is. Older than the truth after a crash, which costs nothing: pages are applied again.
    pub(super) fn remember(&self, at: Txid) -> Result<()> {
        let note = with_suffix(&self.path, "-txid");
        let temporary = with_suffix(&self.path, "-txid.tmp");
        let written = fs::write(&temporary, format!("{at}\n")).and_then(|()| fs::rename(&temporary, &note));
        written.map_err(Error::io(&note, "write"))
    }

    /// How far a copy is.
    pub(super) fn remembered(path: &Path) -> Result<Option<Txid>> {
        let note = with_suffix(path, "-txid");
        match fs::read_to_string(&note) {
            Ok(text) => Ok(text.trim().parse().ok().filter(|_| path.exists())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&note, "read")(e)),
        }
    }
}

fn offset(pgno: u32, size: usize) -> u64 {
    u64::from(pgno - 1) * size as u64
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn sqlite(path: &Path, doing: &'static str, source: rusqlite::Error) -> Error {
    Error::Io { path: path.to_owned(), doing, source: io::Error::other(source) }
}
