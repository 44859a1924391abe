//! What an application has on its volume, bit for bit: databases as their pages after a checkpoint, everything else as it lies there.
//!
//! What is ours on the volume (`.highwater/`) does not belong to it. Reads copies of databases only, so that no lock is touched.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One thing, in the words that a difference is told in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Thing {
    Database { pages: Vec<u8> },
    File { bytes: Vec<u8>, mode: u32, owner: (u32, u32), modified: (i64, i64) },
    Dir { mode: u32, owner: (u32, u32) },
    Link { target: PathBuf },
}

/// Everything below a volume by its path.
pub(super) struct Content(pub(super) BTreeMap<PathBuf, Thing>);

impl Content {
    /// What is there now; whoever calls it knows that nobody writes.
    pub(super) fn of(volume: &Path) -> Result<Self> {
        let mut found = BTreeMap::new();
        walk(volume, volume, &mut found)?;
        Ok(Self(found))
    }

    /// Differences, one per line; none if both are the same.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, thing) in &self.0 {
            match other.0.get(path) {
                None => lines.push(format!("{} is missing", path.display())),
                Some(theirs) if theirs != thing => {
                    lines.push(format!("{}: {}", path.display(), unlike(thing, theirs)))
                }
                Some(_) => {}
            }
        }
        lines.extend(
            other.0.keys().filter(|p| !self.0.contains_key(*p)).map(|p| format!("{} is new", p.display())),
        );
        lines
    }

    /// Databases, their bytes, files, their bytes.
    pub(super) fn sizes(&self) -> (usize, usize, usize, usize) {
        let (mut databases, mut files) = (Vec::new(), Vec::new());
        for thing in self.0.values() {
            match thing {
                Thing::Database { pages } => databases.push(pages.len()),
                Thing::File { bytes, .. } => files.push(bytes.len()),
                Thing::Dir { .. } | Thing::Link { .. } => {}
            }
        }
        (databases.len(), databases.iter().sum(), files.len(), files.iter().sum())
    }
}

fn unlike(a: &Thing, b: &Thing) -> String {
    match (a, b) {
        (Thing::Database { pages: a }, Thing::Database { pages: b }) => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
            format!("{} and {} bytes, first difference at {at}", a.len(), b.len())
        }
        (Thing::File { bytes: a, .. }, Thing::File { bytes: b, .. }) if a != b => {
            format!("{} and {} bytes, not the same", a.len(), b.len())
        }
        (
            Thing::File { mode: a, owner: o, modified: m, .. },
            Thing::File { mode: b, owner: p, modified: n, .. },
        ) => {
            format!("mode {a:o} {b:o}, owner {o:?} {p:?}, modified {m:?} {n:?}")
        }
        _ => format!("{} and {}", kind(a), kind(b)),
    }
}

fn kind(thing: &Thing) -> String {
    match thing {
        Thing::Database { .. } => "a database".into(),
        Thing::File { .. } => "a file".into(),
        Thing::Dir { mode, owner } => format!("a directory {mode:o} of {owner:?}"),
        Thing::Link { target } => format!("a link to {}", target.display()),
    }
}

fn walk(volume: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Thing>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let name = path.strip_prefix(volume)?.to_owned();
        if name.starts_with(".highwater") || is_part_of_database(&path) {
            continue;
        }
        let stat = path.symlink_metadata()?;
        let (mode, owner) = (stat.mode() & 0o7777, (stat.uid(), stat.gid()));
        let thing = if stat.is_symlink() {
            Thing::Link { target: fs::read_link(&path)? }
        } else if stat.is_dir() {
            walk(volume, &path, found)?;
            Thing::Dir { mode, owner }
        } else if is_database(&path) {
            Thing::Database { pages: pages(&path)? }
        } else {
            Thing::File { bytes: fs::read(&path)?, mode, owner, modified: (stat.mtime(), stat.mtime_nsec()) }
        };
        found.insert(name, thing);
    }
    Ok(())
}

fn is_database(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"))
}

/// The WAL and the shared memory beside a database.
fn is_part_of_database(path: &Path) -> bool {
    let name = path.to_string_lossy();
    ["-wal", "-shm", "-journal"]
        .iter()
        .any(|end| name.strip_suffix(end).is_some_and(|db| is_database(Path::new(db))))
}

/// The pages of a database with what its WAL holds.
fn pages(path: &Path) -> Result<Vec<u8>> {
    let copy = tempfile::tempdir()?;
    let target = copy.path().join("db");
    fs::copy(path, &target)?;
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if Path::new(&wal).exists() {
        fs::copy(&wal, copy.path().join("db-wal"))?;
    }
    let database = rusqlite::Connection::open(&target)?;
    let busy: i64 = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    anyhow::ensure!(busy == 0, "{}: the copy cannot be checkpointed", path.display());
    let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    anyhow::ensure!(sound == "ok", "{}: {sound}", path.display());
    drop(database);
    Ok(fs::read(target)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_told() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, value) in [(&a, 1), (&b, 2)] {
            let database = rusqlite::Connection::open(dir.path().join("x.db")).unwrap();
            database
                .execute_batch(&format!(
                    "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES({value})"
                ))
                .unwrap();
            fs::write(dir.path().join("same"), "same").unwrap();
            fs::write(dir.path().join("f"), value.to_string()).unwrap();
            fs::File::options()
                .write(true)
                .open(dir.path().join("same"))
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH)
                .unwrap();
            fs::create_dir(dir.path().join(".highwater")).unwrap();
        }
        fs::write(a.path().join("old"), "").unwrap();
        fs::write(b.path().join("new"), "").unwrap();
        let (first, second) = (Content::of(a.path()).unwrap(), Content::of(b.path()).unwrap());
        assert_eq!(first.differences(&Content::of(a.path()).unwrap()), Vec::<String>::new());
        let told = first.differences(&second).join("\n");
        for words in ["f: 1 and 1 bytes, not the same", "x.db: ", "old is missing", "new is new"] {
            assert!(told.contains(words), "{words} is not in {told}");
        }
        assert!(!told.contains("same:") && !told.contains("highwater"), "{told}");
        assert_eq!(first.sizes().0, 1);
    }
}
