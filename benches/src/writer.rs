//! An application of one connection that knows, for every commit, when it was and which number it got.
//!
//! The number is stored with the commit, in a table of one row: whatever file holds that page tells how far it reaches.

use crate::arrivals::Position;
use anyhow::Result;
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use testkit::rng::Rng;

/// One commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit {
    pub(crate) at: SystemTime,
    pub(crate) to: Position,
}

/// See the module.
pub(crate) struct Writer {
    db: Connection,
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
        db.execute_batch("CREATE TABLE IF NOT EXISTS mark(id INTEGER PRIMARY KEY, value BLOB NOT NULL)")?;
        db.execute("INSERT OR REPLACE INTO mark VALUES (1, ?1)", [next().mark()])?;
        let rows = db.query_row("SELECT max(id) FROM document", [], |row| row.get(0))?;
        Ok(Writer { db, rng: Rng::new(bytes ^ 0x5eed), rows })
    }

    /// Replaces this many documents at random and commits.
    pub(crate) fn commit(&mut self, documents: u64) -> Result<Commit> {
        let transaction = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for _ in 0..documents {
            let id = 1 + self.rng.below(self.rows as u64) as i64;
            let body = crate::dataset::body(&mut self.rng);
            transaction.execute("UPDATE document SET body = ?2 WHERE id = ?1", (id, body))?;
        }
        let to = next();
        transaction.execute("UPDATE mark SET value = ?1 WHERE id = 1", [to.mark()])?;
        transaction.commit()?;
        Ok(Commit { at: SystemTime::now(), to })
    }
}

/// One above the last of this run.
fn next() -> Position {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Position(1 + LAST.fetch_add(1, Ordering::SeqCst))
}
