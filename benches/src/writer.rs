//! An application of one connection that knows, for every commit, when it was and where in the WAL it ended.
//!
//! The position is read from the wal-index header. Closing any descriptor of that file drops the POSIX locks that
//! SQLite holds on it in this process, so ours stays open until after the connection is closed (field order).

use crate::arrivals::Position;
use anyhow::{Context, Result};
use rusqlite::Connection;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use testkit::rng::Rng;

const PAGE: u64 = 4096;
const WAL_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// Offsets in the wal-index header (SQLite, `wal.c`, `WalIndexHdr`).
const MX_FRAME: usize = 16;
const SALT: usize = 32;

/// One commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit {
    pub(crate) at: SystemTime,
    pub(crate) to: Position,
}

/// See the module.
pub(crate) struct Writer {
    db: Connection,
    index: File,
    rng: Rng,
    /// Rows there are.
    rows: i64,
}

impl Writer {
    /// Opens the database, and makes it one with rows of mixed content of this size if it is new.
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Writer> {
        let new = !path.exists();
        let mut db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(5))?;
        if new {
            crate::dataset::fill(&mut db, bytes)?;
        }
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "normal")?;
        // The wal-index exists from the first access on, its header from the first commit on.
        db.execute_batch("UPDATE document SET name = name WHERE id = 1")?;
        let rows = db.query_row("SELECT max(id) FROM document", [], |row| row.get(0))?;
        let mut name = path.as_os_str().to_owned();
        name.push("-shm");
        let index = File::open(&name).with_context(|| format!("{}", name.display()))?;
        Ok(Writer { db, index, rng: Rng::new(bytes ^ 0x5eed), rows })
    }

    /// Replaces this many documents at random and commits.
    pub(crate) fn commit(&mut self, documents: u64) -> Result<Commit> {
        let transaction = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for _ in 0..documents {
            let id = 1 + self.rng.below(self.rows as u64) as i64;
            let body = crate::dataset::body(&mut self.rng);
            transaction.execute("UPDATE document SET body = ?2 WHERE id = ?1", (id, body))?;
        }
        transaction.commit()?;
        let at = SystemTime::now();
        let mut header = [0; 48];
        self.index.read_exact_at(&mut header, 0)?;
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let frames = u64::from(u32::from_ne_bytes(word(MX_FRAME)));
        let to = Position {
            // Stored as in the WAL, big-endian.
            salt: u32::from_be_bytes(word(SALT)),
            end: WAL_HEADER + frames * (FRAME_HEADER + PAGE),
        };
        Ok(Commit { at, to })
    }
}
