//! The tables, and how a connection is opened.
//!
//! `account` has an index, `event` is WITHOUT ROWID, `document` holds blobs; `ledger` has one row per transaction and
//! `shape` what the plan needs. The page cache is small on purpose: big transactions spill into the WAL early.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::args::{AppArgs, Checkpoint};
use super::plan::Shape;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS shape(seed INTEGER NOT NULL, documents INTEGER NOT NULL, blob INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS ledger(
        seq INTEGER PRIMARY KEY, events INTEGER NOT NULL, sum INTEGER NOT NULL, total INTEGER NOT NULL,
        documents INTEGER NOT NULL, digest BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS account(
        id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, last_seq INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS account_balance ON account(balance, last_seq);
    CREATE TABLE IF NOT EXISTS event(
        seq INTEGER NOT NULL, k INTEGER NOT NULL, account INTEGER NOT NULL, amount INTEGER NOT NULL,
        PRIMARY KEY(seq, k)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS document(id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, body BLOB NOT NULL);
";

/// Pages of cache per connection.
const CACHE_PAGES: u32 = 64;

/// Opens the application's database, creates it when it is new, and reads its shape.
pub(super) fn open(args: &AppArgs) -> rusqlite::Result<(Connection, Shape)> {
    let mut db = Connection::open(&args.db)?;
    db.busy_timeout(Duration::from_secs(5))?;
    // Both only work before the first page is written.
    db.execute_batch(&format!(
        "PRAGMA page_size = {}; PRAGMA auto_vacuum = {};",
        args.page_size, args.auto_vacuum
    ))?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", if args.sync_full { "full" } else { "normal" })?;
    db.pragma_update(None, "cache_size", CACHE_PAGES)?;
    if args.checkpoint != Checkpoint::Auto {
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
    }
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.execute(
        "INSERT INTO shape SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM shape)",
        (args.seed as i64, args.documents as i64, args.blob as i64),
    )?;
    let shape = shape(&transaction)?;
    transaction.commit()?;
    Ok((db, shape))
}

/// Whether somebody writes to it, or did not close it.
pub(super) fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    Path::new(&wal).exists()
}

/// Opens a database to look at it, leaving nothing behind where nobody else has it open.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Without a WAL there is no writer yet, and `immutable` needs no -shm file.
    let mode = if has_wal(path) { "" } else { "?immutable=1" };
    let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let db = Connection::open_with_flags(format!("file:{escaped}{mode}"), flags)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

pub(super) fn shape(db: &Connection) -> rusqlite::Result<Shape> {
    db.query_row("SELECT seed, documents, blob FROM shape", (), |row| {
        let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
        Ok(Shape { seed: number(0)?, documents: number(1)?, blob: number(2)? })
    })
}
