//! Is it the same database? A file that was replaced, restored or copied over is not the newest state of a good chain (P3).
//!
//! The table is in decision 0005. In short: the WAL, going on where we were, proves that SQLite wrote the file, as long as nobody
//! else did, which shows in its size and time; without that proof a file that is another one than before must hold exactly
//! what the replica has. Whatever fails is refused before anything of the replica changes, and `--adopt` says that it is meant.

use crate::error::{Error, Result};
use crate::state::{FileMark, Mark};
use crate::write::engine::Writer;
use sqlite_tail::{FileIdentity, FileStamp, Resume};
use std::io;

impl Writer {
    /// The database file as it is now.
    pub(crate) fn file_mark(&self) -> Result<FileMark> {
        let FileIdentity { inode, born_ms } = self.tail.identity()?;
        let rested = self.tail.rested().map(|FileStamp { size, written: (s, ns) }| (size, s, ns));
        Ok(FileMark { inode, born_ms, rested, suspect: false })
    }

    /// Refuses a file that is not known to be written by SQLite since the mark, unless it holds what the replica has.
    pub(crate) fn check_same_file(&mut self, mark: &Mark, resumed: &Resume) -> Result<()> {
        let now = self.file_mark()?;
        let before = self.record.file;
        self.record.file = Some(FileMark { rested: None, ..now });
        let Some(before) = before.filter(|_| !self.config.adopt) else { return Ok(()) };
        let proven = matches!(resumed, Resume::Proven);
        let another = is_another(&before, &now);
        let what = if before.suspect {
            "the database file was written from outside sqlite"
        } else if another {
            "the database file was replaced by another one"
        } else if proven && self.was_written_aside(&before)? {
            "the database file was written from outside sqlite while nobody watched"
        } else {
            return Ok(());
        };
        if self.differs(mark)? == 0 {
            return Ok(());
        }
        // Remembered, so that the WAL does not prove it the next time.
        self.record.file = Some(FileMark { suspect: true, ..before });
        let record = self.record.clone();
        self.state.save(record, true)?;
        Err(refusal(what))
    }

    /// Whether the file changed although the WAL says that nothing was committed, and so nothing could be written back.
    fn was_written_aside(&mut self, before: &FileMark) -> Result<bool> {
        let Some((size, s, ns)) = before.rested else { return Ok(false) };
        let looked = self.tail.look()?;
        let now = self.tail.stamp()?;
        Ok(!looked.news && (now.size, now.written) != (size, (s, ns)))
    }

    /// Pages of the database that are not what the replica has; counting ends at the first.
    fn differs(&mut self, mark: &Mark) -> Result<u64> {
        let Writer { tail, table, .. } = self;
        let mut view = tail.view()?;
        if view.commit() != mark.commit {
            return Ok(1);
        }
        let lock_page = view.lock_page();
        let mut found = 0;
        let compared = view.for_each_page(|pgno: u32, page: &[u8]| {
            let known = table.get(pgno).map_err(io::Error::other)?;
            found = u64::from(pgno != lock_page && known != Some(ltx::checksum::page_checksum(pgno, page)));
            if found == 0 { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        });
        drop(view);
        if found == 0 {
            compared?;
        }
        Ok(found)
    }

    /// The file changed while only we could let anybody write it: it must hold what was copied. A touch is forgiven; anything
    /// else is refused before a page of it, or a commit on top of it, is shipped (P2, P3).
    pub(crate) fn check_undisturbed(&mut self) -> Result<()> {
        let commit = self.batch.db_pages().or(self.record.mark.map(|mark| mark.commit)).unwrap_or(0);
        let size = self.tail.page_size();
        let mut page = vec![0; size as usize];
        let mut same = self.tail.stamp()?.size == u64::from(commit) * u64::from(size);
        let lock_page = 0x4000_0000 / size + 1;
        for pgno in 1..=commit {
            if !same {
                break;
            }
            // What waits in the batch is newer than the table; its pages are not compared.
            if pgno != lock_page && !self.batch.contains(pgno) {
                self.tail.read_file_page(pgno, &mut page)?;
                same = self.table.get(pgno)? == Some(ltx::checksum::page_checksum(pgno, &page));
            }
        }
        if same {
            return Ok(self.tail.forgive()?);
        }
        let file = self.file_mark()?;
        self.record.file = Some(FileMark { suspect: true, rested: None, ..file });
        self.state.save(self.record.clone(), true)?;
        Err(refusal("the database file was written from outside sqlite"))
    }

    /// Somebody else may be at the file, with a WAL of his own (trap 6): what he does to it while nobody watches is for the next start to find.
    pub(crate) fn leave_busy(&mut self, error: sqlite_tail::Error) -> Error {
        if let sqlite_tail::Error::Busy { .. } = error {
            let left = self.leave_file().and_then(|()| self.state.save(self.record.clone(), true));
            if let Err(unsaved) = left {
                tracing::warn!(error = %unsaved, "what the database file looks like could not be recorded");
            }
        }
        error.into()
    }

    /// Remembers what the file looks like at an end, for the next start.
    pub(crate) fn leave_file(&mut self) -> Result<()> {
        let file = self.file_mark()?;
        self.record.file = Some(file);
        Ok(())
    }
}

/// Where the file system knows when a file was created, that says it: inodes are used again, and some file systems make up new
/// ones at each mount.
fn is_another(before: &FileMark, now: &FileMark) -> bool {
    match (before.born_ms, now.born_ms) {
        (Some(before), Some(now)) => before != now,
        _ => before.inode != now.inode,
    }
}

fn refusal(what: &str) -> Error {
    Error::Refused {
        what: format!("{what}, and it does not hold what the replica has"),
        hint: "restore the replica, or start with --adopt if this is what you want to keep".into(),
    }
}
