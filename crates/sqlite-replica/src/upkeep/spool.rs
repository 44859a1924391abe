//! Sent files kept on the volume, so that merging them needs no reading from the store (trap 12), and a lost object can be sent again.
//!
//! `.highwater/<database>/spool/<level>/<name>`, by rename from the staged file; bounded in bytes. What does not fit is simply not
//! kept: the levels then wait for the next snapshot instead of leaving a gap. The directory is a cache: deleting it costs
//! requests or a snapshot, never data. Of a sealed replica the files are kept in plain text, as the database beside them is; their names
//! end with `+<size as stored>`, since a file is known by that.

use crate::error::{Error, Result};
use crate::layout::Level;
use crate::state::Staged;
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
    files: BTreeMap<(Level, FileName), Kept>,
}

/// Bytes of a kept file: as it is stored, and here.
#[derive(Debug, Clone, Copy)]
struct Kept {
    stored: u64,
    here: u64,
}

impl Spool {
    /// Looks at what is there. Nothing is created before the first file is kept.
    pub(crate) fn open(state: &Path, bound: u64) -> Result<Spool> {
        let dir = state.join("spool");
        let mut spool = Spool { dir, bound, bytes: 0, files: BTreeMap::new() };
        spool.drop_scratch();
        for level in (0..Level::SNAPSHOT.0).map(Level) {
            let dir = spool.dir.join(level.0.to_string());
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(&dir, "list")(e)),
            };
            for entry in entries {
                let entry = entry.map_err(Error::io(&dir, "list"))?;
                let here = entry.metadata().map_err(Error::io(&dir, "stat a file in"))?.len();
                if let Some((name, stored)) = entry.file_name().to_str().and_then(parse) {
                    let size = Kept { stored: stored.unwrap_or(here), here };
                    spool.bytes += here;
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
        let kept = self.files.get(&(h.level, h.name)).filter(|kept| kept.stored == h.size)?;
        Some(place(&self.dir, h.level, h.name, *kept))
    }

    /// Whether a file is kept.
    pub(crate) fn has(&self, h: &Holding) -> bool {
        self.files.get(&(h.level, h.name)).is_some_and(|kept| kept.stored == h.size)
    }

    /// Where merged files are put together.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.join("merging")
    }

    /// Where the object that a merged file becomes is made, if it is another.
    pub(crate) fn object_of(scratch: &Path) -> PathBuf {
        scratch.with_extension("object")
    }

    /// What a merge that was broken off left; whoever writes there still has no name for it any more.
    pub(crate) fn drop_scratch(&self) {
        let scratch = self.scratch();
        let _ = fs::remove_file(Self::object_of(&scratch));
        let _ = fs::remove_file(scratch);
    }

    /// Takes the file at `from` over by rename if it fits; true if so. It stays at `from` otherwise.
    pub(crate) fn keep(&mut self, from: &Path, h: &Holding) -> Result<bool> {
        let here = match fs::metadata(from) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io(from, "stat")(e)),
        };
        if self.bytes + here > self.bound {
            return Ok(false);
        }
        let kept = Kept { stored: h.size, here };
        let to = place(&self.dir, h.level, h.name, kept);
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
        self.bytes += here;
        if let Some(before) = self.files.insert((h.level, h.name), kept) {
            self.bytes -= before.here;
            let old = place(&self.dir, h.level, h.name, before);
            if old != to {
                let _ = fs::remove_file(old);
            }
        }
        Ok(true)
    }

    /// Removes every kept file that `gone` says so of.
    pub(crate) fn drop_where(&mut self, gone: impl Fn(Level, FileName) -> bool) {
        let gone: Vec<_> = self.files.keys().copied().filter(|(level, name)| gone(*level, *name)).collect();
        for (level, name) in gone {
            let Some(kept) = self.files.remove(&(level, name)) else { continue };
            self.bytes -= kept.here;
            // A file that stays is found again at the next start; until then it only takes room.
            if let Err(error) = fs::remove_file(place(&self.dir, level, name, kept)) {
                tracing::debug!(%error, %name, "a kept file would not go");
            }
        }
    }

    /// The directory is gone with everything in it.
    pub(crate) fn lost(&mut self) {
        self.files.clear();
        self.bytes = 0;
    }

    /// What is kept; of unknown time.
    pub(crate) fn files(&self) -> impl Iterator<Item = Holding> + '_ {
        self.files.iter().map(|(&(level, name), kept)| Holding { level, name, size: kept.stored, time_ms: 0 })
    }

    /// Bytes kept.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A kept file was stored again, and has another size there now.
    pub(crate) fn restored_as(&mut self, level: Level, name: FileName, stored: u64) {
        let Some(before) = self.files.get(&(level, name)).copied() else { return };
        let now = Kept { stored, ..before };
        let (from, to) = (place(&self.dir, level, name, before), place(&self.dir, level, name, now));
        if from == to || fs::rename(from, to).is_ok() {
            self.files.insert((level, name), now);
        }
    }
}

fn place(dir: &Path, level: Level, name: FileName, kept: Kept) -> PathBuf {
    let dir = dir.join(level.0.to_string());
    if kept.stored == kept.here {
        dir.join(name.to_string())
    } else {
        dir.join(format!("{name}+{}", kept.stored))
    }
}

/// The name of a kept file, and the size it was stored as where that is another than its own.
fn parse(text: &str) -> Option<(FileName, Option<u64>)> {
    match text.split_once('+') {
        None => Some((FileName::parse(text)?, None)),
        Some((name, stored)) => Some((FileName::parse(name)?, Some(stored.parse().ok()?))),
    }
}

/// Where the file of one sync that was sent as `staged` is kept, if it is, in the state directory `state`.
pub(crate) fn kept_sync(state: &Path, txid: ltx::Txid, staged: &Staged) -> PathBuf {
    let dir = state.join("spool").join(Level::SYNC.0.to_string());
    let name = FileName { min: txid, max: txid };
    // A sealed object is never as long as what it was made of: the claim of a sealed replica is, and is named like that.
    let plain = dir.join(name.to_string());
    if staged.apart && !plain.exists() { dir.join(format!("{name}+{}", staged.size)) } else { plain }
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
        let staged = Staged { size: 60, sha256: String::new(), apart: false };
        assert_eq!(again.path(&sync(1, 60)), Some(kept_sync(tmp.path(), Txid::FIRST, &staged)));
        again.drop_where(|_, name| name.max <= Txid::FIRST);
        assert_eq!(again.bytes(), 40);
        assert!(!kept_sync(tmp.path(), Txid::FIRST, &staged).exists());
    }

    #[test]
    fn a_file_that_is_stored_sealed_is_known_by_its_size_there() {
        let tmp = tempfile::tempdir().unwrap();
        let staged = tmp.path().join("staged.ltx");
        fs::write(&staged, [0; 60]).unwrap();
        let mut spool = Spool::open(tmp.path(), 100).unwrap();
        assert!(spool.keep(&staged, &sync(1, 500)).unwrap());
        assert_eq!(spool.bytes(), 60);
        let mut again = Spool::open(tmp.path(), 100).unwrap();
        assert!(again.has(&sync(1, 500)) && !again.has(&sync(1, 60)));
        again.restored_as(Level::SYNC, sync(1, 0).name, 510);
        assert!(again.has(&sync(1, 510)) && again.path(&sync(1, 510)).unwrap().exists());
        let found = Spool::open(tmp.path(), 100).unwrap();
        assert!(found.has(&sync(1, 510)) && found.bytes() == 60);
    }
}
