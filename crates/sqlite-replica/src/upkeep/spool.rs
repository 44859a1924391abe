//! Sent files kept on the volume, so that merging them needs no reading from the store (trap 12), and a lost object can be sent again.
//!
//! `.highwater/<database>/spool/<level>/<name>`, by rename from the staged file; bounded in bytes. What does not fit is simply not
//! kept: the levels then wait for the next snapshot instead of leaving a gap. The directory is a cache: deleting it costs
//! requests or a snapshot, never data.

use crate::error::{Error, Result};
use crate::layout::Level;
use crate::upkeep::holdings::Holding;
use ltx::FileName;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The kept files of one database.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    bound: u64,
    bytes: u64,
    files: BTreeMap<(Level, FileName), u64>,
}

impl Spool {
    /// Looks at what is there. Nothing is created before the first file is kept.
    pub(crate) fn open(state: &Path, bound: u64) -> Result<Spool> {
        let dir = state.join("spool");
        let mut spool = Spool { dir, bound, bytes: 0, files: BTreeMap::new() };
        let _ = fs::remove_file(spool.scratch());
        for level in (0..Level::SNAPSHOT.0).map(Level) {
            let dir = spool.dir.join(level.0.to_string());
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(&dir, "list")(e)),
            };
            for entry in entries {
                let entry = entry.map_err(Error::io(&dir, "list"))?;
                let size = entry.metadata().map_err(Error::io(&dir, "stat a file in"))?.len();
                if let Some(name) = entry.file_name().to_str().and_then(FileName::parse) {
                    spool.bytes += size;
                    spool.files.insert((level, name), size);
                }
            }
        }
        Ok(spool)
    }

    /// Most bytes from now on; what is kept already stays.
    pub(crate) fn bound(&mut self, bytes: u64) {
        self.bound = bytes;
    }

    /// Where a file lies, if it is kept.
    pub(crate) fn path(&self, h: &Holding) -> Option<PathBuf> {
        (self.files.get(&(h.level, h.name)) == Some(&h.size)).then(|| self.place(h.level, h.name))
    }

    /// Whether a file is kept.
    pub(crate) fn has(&self, h: &Holding) -> bool {
        self.files.get(&(h.level, h.name)) == Some(&h.size)
    }

    /// Where merged files are put together.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.join("merging")
    }

    /// Takes the file at `from` over by rename if it fits; true if so. It stays at `from` otherwise.
    pub(crate) fn keep(&mut self, from: &Path, h: &Holding) -> Result<bool> {
        if self.bytes + h.size > self.bound {
            return Ok(false);
        }
        let to = self.place(h.level, h.name);
        let dir = to.parent().expect("a place in the spool has a directory");
        if let Err(e) = fs::rename(from, &to) {
            if e.kind() != io::ErrorKind::NotFound {
                return Err(Error::io(&to, "keep")(e));
            }
            fs::create_dir_all(dir).map_err(Error::io(dir, "create"))?;
            match fs::rename(from, &to) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(e) => return Err(Error::io(&to, "keep")(e)),
            }
        }
        self.bytes += h.size;
        if let Some(before) = self.files.insert((h.level, h.name), h.size) {
            self.bytes -= before;
        }
        Ok(true)
    }

    /// Removes every kept file that `gone` says so of.
    pub(crate) fn drop_where(&mut self, gone: impl Fn(Level, FileName) -> bool) {
        let gone: Vec<_> = self.files.keys().copied().filter(|(level, name)| gone(*level, *name)).collect();
        for (level, name) in gone {
            let size = self.files.remove(&(level, name)).unwrap_or(0);
            self.bytes -= size;
            // A file that stays is found again at the next start; until then it only takes room.
            if let Err(error) = fs::remove_file(self.place(level, name)) {
                tracing::debug!(%error, %name, "a kept file would not go");
            }
        }
    }

    /// What is kept; of unknown time.
    pub(crate) fn files(&self) -> impl Iterator<Item = Holding> + '_ {
        self.files.iter().map(|(&(level, name), &size)| Holding { level, name, size, time_ms: 0 })
    }

    /// Bytes kept.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn place(&self, level: Level, name: FileName) -> PathBuf {
        place(&self.dir, level, name)
    }
}

fn place(dir: &Path, level: Level, name: FileName) -> PathBuf {
    dir.join(level.0.to_string()).join(name.to_string())
}

/// Where the file of one sync is kept, if it is, in the state directory `state`.
pub(crate) fn kept_sync(state: &Path, txid: ltx::Txid) -> PathBuf {
    place(&state.join("spool"), Level::SYNC, FileName { min: txid, max: txid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ltx::Txid;

    fn sync(txid: u64, size: u64) -> Holding {
        let txid = Txid::new(txid).unwrap();
        Holding { level: Level::SYNC, name: FileName { min: txid, max: txid }, size, time_ms: 0 }
    }

    #[test]
    fn p7_what_does_not_fit_is_not_kept_and_what_is_kept_is_found_again() {
        let tmp = tempfile::tempdir().unwrap();
        let staged = tmp.path().join("staged.ltx");
        let mut spool = Spool::open(tmp.path(), 100).unwrap();
        for (txid, size, fits) in [(1, 60, true), (2, 50, false), (3, 40, true)] {
            fs::write(&staged, vec![0; size as usize]).unwrap();
            assert_eq!(spool.keep(&staged, &sync(txid, size)).unwrap(), fits, "{txid}");
            assert_eq!(staged.exists(), !fits, "by rename");
        }
        assert_eq!(spool.bytes(), 100);
        let mut again = Spool::open(tmp.path(), 100).unwrap();
        assert!(again.has(&sync(1, 60)) && again.has(&sync(3, 40)) && !again.has(&sync(3, 41)));
        assert_eq!(again.path(&sync(1, 60)), Some(kept_sync(tmp.path(), Txid::FIRST)));
        again.drop_where(|_, name| name.max <= Txid::FIRST);
        assert_eq!(again.bytes(), 40);
        assert!(!kept_sync(tmp.path(), Txid::FIRST).exists());
    }
}
