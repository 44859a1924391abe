//! A pod's volume: the directory with the database and what the streamer keeps beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use testkit::app::{self, AppArgs, AppReport};
use testkit::dirs::copy_dir;
use testkit::procs::{Proc, wait_until};

/// See the module.
#[derive(Debug)]
pub struct Volume {
    scratch: TempDir,
}

impl Volume {
    /// An empty volume.
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Volume {
        Volume { scratch: tempfile::tempdir().expect("a scratch directory") }
    }

    /// Another volume with the same bytes on it: a storage snapshot. No application may run.
    pub fn copy(&self) -> Volume {
        let other = Volume::new();
        copy_dir(self.path(), other.path()).expect("a volume can be copied");
        other
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The application's database.
    pub fn db(&self) -> PathBuf {
        self.path().join("app.db")
    }

    /// A file on it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Options of the application on this volume.
    pub fn args(&self, transactions: u64) -> AppArgs {
        AppArgs { transactions, ..AppArgs::new(self.db()) }
    }

    /// Runs the application to its end.
    #[track_caller]
    pub fn write(&self, transactions: u64) -> AppReport {
        app::run(&self.args(transactions)).expect("the application works")
    }

    /// The last transaction in the database.
    #[track_caller]
    pub fn last_seq(&self) -> u64 {
        app::verify(&self.db()).expect("the database is a prefix of the plan").last_seq
    }

    /// Panics unless the restored file is what the database holds, byte for byte; no application may run.
    #[track_caller]
    pub fn expect_same(&self, restored: &Path) {
        fold(&self.db());
        let compared = app::compare_dbs(&self.db(), restored).expect("both can be read");
        assert!(compared.same_bytes() && compared.same_rows(), "{compared}");
    }
}

/// Folds the WAL into the database file, as the last step before comparing bytes.
#[track_caller]
pub fn fold(db: &Path) {
    let connection = Connection::open(db).expect("the database opens");
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
        .expect("the database can be checkpointed");
    assert_eq!(busy, 0, "the WAL of {} could not be folded", db.display());
}

/// Kills an application while it commits nothing. A kill between the last frame of a commit and its publication leaves a
/// transaction that nobody was told of and that SQLite finds only once everybody has closed the database: nobody can say whether
/// it ought to be in a replica.
#[track_caller]
pub fn kill_between_commits(application: &mut Proc, db: &Path) {
    let barrier = Connection::open(db).expect("the database opens");
    // SQLite's own waiting sleeps for longer and longer, and starves beside writers that checkpoint after every commit.
    barrier.busy_timeout(Duration::ZERO).expect("a timeout can be set");
    wait_until(crate::PATIENCE, "the write lock", || barrier.execute_batch("BEGIN IMMEDIATE").is_ok());
    application.kill9();
    barrier.execute_batch("ROLLBACK").expect("nothing was written");
}

/// All files below a directory and their bytes, to show that nothing changed.
pub fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files.extend(snapshot(&path)),
            false => drop(files.insert(path.clone(), fs::read(&path).unwrap_or_default())),
        }
    }
    files
}
