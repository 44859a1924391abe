//! One of our SQLite connections: quiet, small, and with only the four verbs the protocol needs.
//!
//! Every connection sets NO_CKPT_ON_CLOSE and PERSIST_WAL, so that no close of ours checkpoints or deletes a WAL
//! (trap 7), `wal_autocheckpoint=0`, and a cache of two pages. None ever writes a page. A read transaction is opened
//! by `PRAGMA schema_version`: it reads page 1 under a snapshot without parsing the application's schema.

use crate::{Error, quiet};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use rusqlite::config::DbConfig;
use rusqlite::ffi::{SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_TRUNCATE};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a busy lock is asked for again.
const RETRY: Duration = Duration::from_micros(200);

/// Result of a PASSIVE checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backfilled {
    /// Another checkpointer was at work.
    pub(crate) busy: bool,
}

#[derive(Debug)]
pub(crate) struct Quiet {
    connection: Connection,
    path: PathBuf,
}

impl Quiet {
    /// Opens the database and reads once, which also opens (or creates) `-wal` and `-shm`: a connection that
    /// never read checkpoints nothing (trap 8).
    pub(crate) fn open(path: &Path, busy_timeout: Duration) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(Error::sqlite("open a connection", path))?;
        let this = Self { connection, path: path.to_owned() };
        let set_up = || -> rusqlite::Result<bool> {
            this.connection.busy_timeout(busy_timeout)?;
            this.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            quiet::persist_wal_without_lookaside(&this.connection)?;
            // A cache of two pages is too small for SQLite's bulk allocation of twenty; to set its size SQLite parses
            // the application's schema, so both are given back afterwards (trap 14).
            this.connection.execute_batch(
                "PRAGMA wal_autocheckpoint=0; PRAGMA mmap_size=0; PRAGMA cache_size=2; PRAGMA writable_schema=RESET; PRAGMA shrink_memory;",
            )?;
            this.connection.is_readonly("main")
        };
        if set_up().map_err(Error::sqlite("set up a connection", path))? {
            return Err(match access(path, AccessFlags::W_OK) {
                Err(Errno::EACCES | Errno::EPERM) => {
                    Error::refused(path, "the file is read-only for us", "let its owner write it (chmod u+w)")
                }
                // The volume, then: a kernel that no longer trusts a file system says so only where something is written.
                _ => Error::io("write to", path)(Errno::EROFS.into()),
            });
        }
        this.touch()?;
        Ok(this)
    }

    /// Turns a rollback-journal database into a WAL database; `false` if SQLite would not.
    pub(crate) fn convert_to_wal(&self) -> Result<bool, Error> {
        self.connection
            .query_row("PRAGMA journal_mode=WAL", [], |row| row.get::<_, String>(0))
            .map(|mode| mode == "wal")
            .map_err(Error::sqlite("convert the journal mode", &self.path))
    }

    /// From now on lock waits are ours to pace: SQLite answers at once.
    pub(crate) fn do_not_wait(&self) -> Result<(), Error> {
        self.connection
            .busy_timeout(Duration::ZERO)
            .map_err(Error::sqlite("set the busy timeout", &self.path))
    }

    /// A read transaction that ends at once.
    pub(crate) fn touch(&self) -> Result<(), Error> {
        let read = self.connection.query_row("PRAGMA schema_version", [], |_| Ok(()));
        quiet::release_pages(&self.connection);
        read.map_err(Error::sqlite("read the schema version", &self.path))
    }

    /// Opens a read transaction on the newest snapshot and keeps it.
    pub(crate) fn begin_read(&self, patience: Duration) -> Result<(), Error> {
        self.patiently(patience, || {
            self.connection.execute_batch("BEGIN")?;
            let read = self.connection.query_row("PRAGMA schema_version", [], |_| Ok(()));
            if read.is_err() {
                self.rollback_quietly();
            }
            read
        })
        .map_err(Error::sqlite("open a read transaction", &self.path))
    }

    /// Takes the write lock, the barrier; it is a read transaction on the newest snapshot as well.
    pub(crate) fn begin_write(&self, patience: Duration) -> Result<(), Error> {
        self.patiently(patience, || self.connection.execute_batch("BEGIN IMMEDIATE"))
            .map_err(Error::sqlite("take the write barrier", &self.path))
    }

    /// What SQLite's own check finds, at most `limit` lines.
    pub(crate) fn quick_check(&self, limit: u32) -> rusqlite::Result<Vec<String>> {
        let lines = self
            .connection
            .prepare(&format!("PRAGMA quick_check({limit})"))
            .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect());
        // It has parsed the application's schema, which is given back (trap 14).
        self.connection.execute_batch("PRAGMA writable_schema=RESET; PRAGMA shrink_memory;")?;
        lines
    }

    /// Ends whatever transaction is open; nothing was written in it.
    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        let ended = self.connection.execute_batch("ROLLBACK");
        quiet::release_pages(&self.connection);
        ended.map_err(Error::sqlite("end a transaction", &self.path))
    }

    /// Whether a transaction is open.
    pub(crate) fn holds(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Copies frames into the database file as far as no reader is in the way; waits for nobody.
    pub(crate) fn checkpoint_passive(&self) -> Result<Backfilled, Error> {
        self.checkpoint(SQLITE_CHECKPOINT_PASSIVE)
    }

    /// Cuts the WAL to zero bytes if nobody uses it.
    pub(crate) fn checkpoint_truncate(&self) -> Result<Backfilled, Error> {
        self.checkpoint(SQLITE_CHECKPOINT_TRUNCATE)
    }

    fn checkpoint(&self, mode: i32) -> Result<Backfilled, Error> {
        let busy =
            quiet::checkpoint(&self.connection, mode).map_err(Error::sqlite("checkpoint", &self.path))?;
        Ok(Backfilled { busy })
    }

    fn rollback_quietly(&self) {
        if let Err(error) = self.end() {
            tracing::debug!(%error, "a failed begin left its transaction");
        }
    }

    /// Tries again while SQLite says BUSY. Paced by attempts instead of a clock, so that a clock that stands still
    /// cannot hang us.
    fn patiently(
        &self,
        patience: Duration,
        mut attempt: impl FnMut() -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut left = patience.as_micros() / RETRY.as_micros();
        loop {
            match attempt() {
                Err(error)
                    if left > 0
                        && matches!(
                            error.sqlite_error_code(),
                            Some(
                                rusqlite::ErrorCode::DatabaseBusy
                                    | rusqlite::ErrorCode::DatabaseLocked
                                    | rusqlite::ErrorCode::FileLockingProtocolFailed
                            )
                        ) =>
                {
                    left -= 1;
                    thread::sleep(RETRY);
                }
                done => return done,
            }
        }
    }
}
