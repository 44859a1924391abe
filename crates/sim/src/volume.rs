//! One volume with one database and the connections of its application.

use crate::disk;
use crate::oracle::{self, Oracle, State};
use anyhow::{Context, Result, ensure};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use testkit::rng::Rng;

/// See the module.
pub struct Volume {
    /// Its number among the simulated disks.
    pub disk: usize,
    /// The directory.
    pub root: PathBuf,
    /// What the application has open.
    pub connections: Vec<Connection>,
    /// Sees committed states and nothing else.
    probe: Option<Connection>,
    /// The newest committed state; `None` before the first.
    pub head: Option<State>,
    /// The newest state that a writer on this volume reported durable.
    pub reported: Option<State>,
    /// The database was created, and committed to.
    pub settled: bool,
    /// A sidecar refused what is there: the next start restores.
    pub refused: bool,
    /// In this step a restore took the place of what was there.
    pub replaced: bool,
}

impl Volume {
    /// An empty volume.
    pub fn new(disk: usize, root: PathBuf) -> Volume {
        Volume {
            disk,
            root,
            connections: Vec::new(),
            probe: None,
            head: None,
            reported: None,
            settled: false,
            refused: false,
            replaced: false,
        }
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("app.db")
    }

    /// The application opens another connection; the first one creates the database.
    pub fn open(&mut self, rng: &mut Rng) -> Result<()> {
        let fresh = !self.database().exists();
        let connection = Connection::open(self.database())?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        if fresh {
            connection.execute_batch(&format!("PRAGMA page_size={}", rng.pick(&[512, 1024, 4096])))?;
        }
        let synchronous = rng.pick(&["NORMAL", "FULL"]);
        let checkpoint = rng.pick(&[0, 4, 20, 1000]);
        connection.execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint={checkpoint}; PRAGMA cache_size={}",
            rng.pick(&[5, 2000])
        ))?;
        self.connections.push(connection);
        Ok(())
    }

    /// Notes the committed state in the oracle, if there is a database with content. True if it is a new one.
    pub fn note(&mut self, oracle: &mut Oracle) -> Result<bool> {
        let Some(image) = self.image()? else { return Ok(false) };
        let state = oracle.commit(self.head, image);
        Ok(self.head.replace(state) != Some(state))
    }

    /// Digest of the committed state, as SQLite shows it.
    pub fn image(&mut self) -> Result<Option<[u8; 32]>> {
        if !self.database().exists() {
            return Ok(None);
        }
        if self.probe.is_none() {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let probe = Connection::open_with_flags(self.database(), flags)?;
            probe.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            probe.execute_batch("PRAGMA cache_size=2; PRAGMA wal_autocheckpoint=0")?;
            self.probe = Some(probe);
        }
        let probe = self.probe.as_ref().expect("opened above");
        let bytes = crate::sqlite::pages(probe);
        Ok((!bytes.is_empty()).then(|| oracle::image(&bytes)))
    }

    /// The application and everything else that has the database open is gone. Nothing is checkpointed on the way.
    pub fn close_all(&mut self) {
        for connection in self.connections.drain(..).chain(self.probe.take()) {
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            drop(connection);
        }
    }

    /// Closes the probe, so that the last connection of the application is the last of all but the streamer's.
    pub fn forget_probe(&mut self) {
        self.probe = None;
    }

    /// Everything on the volume is replaced.
    pub fn put(&mut self, image: &disk::Image) {
        self.close_all();
        disk::put(self.disk, image);
    }

    /// The digest of a database file that nobody has open.
    pub fn file_image(path: &Path) -> Result<[u8; 32]> {
        let bytes = std::fs::read(path).context("read the restored database")?;
        ensure!(!bytes.is_empty(), "the restored database is empty");
        Ok(oracle::image(&bytes))
    }
}
