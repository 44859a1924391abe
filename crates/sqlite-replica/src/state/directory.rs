//! The directory on the volume: its lock, and the record in two slots.

use super::{FORMAT, Record, Staged};
use crate::error::{Error, Result};
use ltx::checksum::Crc64;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const SLOT: usize = 4096;

/// The directory of one database's local state, locked for this process.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    slots: File,
    lock: Flock<File>,
    record: Option<Record>,
}

impl StateDir {
    /// `.highwater/<file name>/` beside `database`.
    pub fn path_for(database: &Path) -> PathBuf {
        let name = database.file_name().unwrap_or_default();
        database.parent().unwrap_or(Path::new(".")).join(".highwater").join(name)
    }

    /// Opens the directory, creating it if needed, and locks it; a second process is refused (P4).
    pub fn open(dir: &Path) -> Result<StateDir> {
        create(dir)?;
        let lock = locked(dir)?;
        let slots = open(dir, "state")?;
        let record = read(&slots, dir)?;
        Ok(StateDir { dir: dir.to_owned(), slots, lock, record })
    }

    /// Whether a file that is open is what lies in the directory. A volume that does not say is not asked again: the next write will fail.
    fn holds(&self, file: &File, name: &str) -> bool {
        match (file.metadata(), fs::metadata(self.dir.join(name))) {
            (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
            (_, Err(e)) => e.kind() != std::io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }

    /// Whether the lock and the record are in the directory.
    pub(crate) fn is_in_place(&self) -> bool {
        self.holds(&self.lock, "lock") && self.holds(&self.slots, "state")
    }

    /// The directory or a part of it was removed, or another one is in its place, while this process worked: it is built anew around
    /// `record`, which is newer than anything that may lie there.
    pub(crate) fn put_back(&mut self, record: Record) -> Result<()> {
        create(&self.dir)?;
        // A lock that is there still is ours, and cannot be taken twice.
        if !self.holds(&self.lock, "lock") {
            self.lock = locked(&self.dir)?;
        }
        self.slots = open(&self.dir, "state")?;
        // Both slots: nothing older may win.
        self.save(record.clone(), false)?;
        self.save(record, true)?;
        let sync = File::open(&self.dir).and_then(|dir| dir.sync_all());
        sync.map_err(Error::io(&self.dir, "sync the directory"))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The page table's file.
    pub fn table(&self) -> PathBuf {
        StateDir::table_in(&self.dir)
    }

    /// The page table's file in a state directory that need not be open.
    pub(crate) fn table_in(dir: &Path) -> PathBuf {
        dir.join("pages")
    }

    /// The staged file.
    pub fn staged(&self) -> PathBuf {
        self.dir.join("staged.ltx")
    }

    /// What is sent of it, where that is another file.
    pub fn object(&self) -> PathBuf {
        self.dir.join("staged.object")
    }

    /// Where the object lies that was staged.
    pub(crate) fn sent(&self, staged: &Staged) -> PathBuf {
        if staged.apart { self.object() } else { self.staged() }
    }

    /// The record as last written.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Writes the record; with `durable` it survives a power loss when this returns.
    pub fn save(&mut self, mut record: Record, durable: bool) -> Result<()> {
        record.sequence = self.record.as_ref().map_or(0, |r| r.sequence) + 1;
        record.format = FORMAT;
        let json = serde_json::to_string(&record).expect("plain fields serialise");
        let mut crc = Crc64::new();
        crc.update(json.as_bytes());
        let mut slot = format!("{:016x} {json}\n", crc.value()).into_bytes();
        assert!(slot.len() <= SLOT, "a record of fixed fields fits its slot");
        slot.resize(SLOT, b' ');
        let path = self.dir.join("state");
        let at = (record.sequence % 2) * SLOT as u64;
        self.slots.write_all_at(&slot, at).map_err(Error::io(&path, "write"))?;
        if durable {
            self.slots.sync_data().map_err(Error::io(&path, "sync"))?;
        }
        self.record = Some(record);
        Ok(())
    }
}

fn create(dir: &Path) -> Result<()> {
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(Error::io(dir, "create the state directory"))
}

fn locked(dir: &Path) -> Result<Flock<File>> {
    Flock::lock(open(dir, "lock")?, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => Error::Fenced {
            what: format!("{} is locked by another process", dir.display()),
            hint: "one streamer per database; stop the other one".into(),
        },
        errno => Error::Io { path: dir.join("lock"), doing: "lock", source: errno.into() },
    })
}

fn open(dir: &Path, name: &str) -> Result<File> {
    let path = dir.join(name);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    options.open(&path).map_err(Error::io(&path, "open"))
}

fn read(slots: &File, dir: &Path) -> Result<Option<Record>> {
    let mut newest: Option<Record> = None;
    let mut bytes = vec![0; 2 * SLOT];
    let mut filled = 0;
    while filled < bytes.len() {
        match slots
            .read_at(&mut bytes[filled..], filled as u64)
            .map_err(Error::io(&dir.join("state"), "read"))?
        {
            0 => break,
            n => filled += n,
        }
    }
    for slot in bytes[..filled].chunks(SLOT) {
        let Some(record) = parse(slot) else { continue };
        if record.format > FORMAT {
            return Err(Error::Refused {
                what: format!(
                    "{}: state has format {}, this program knows {FORMAT}",
                    dir.display(),
                    record.format
                ),
                hint: "use the newer version that wrote it".into(),
            });
        }
        if newest.as_ref().is_none_or(|n| n.sequence < record.sequence) {
            newest = Some(record);
        }
    }
    Ok(newest)
}

fn parse(slot: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(slot).ok()?.trim_end();
    let (crc, json) = text.split_once(' ')?;
    let mut check = Crc64::new();
    check.update(json.as_bytes());
    (u64::from_str_radix(crc, 16).ok()? == check.value()).then_some(())?;
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::state::Intent;

    fn record(confirmed: u64) -> Record {
        Record {
            format: FORMAT,
            sequence: 0,
            replica: "s3://bucket/prefix".into(),
            identity: Identity { cluster: String::new(), app: "app".into(), database: "db".into() },
            lineage: u64::MAX,
            epoch: 1,
            confirmed,
            intent: Some(Intent { txid: 9, write_id: [1, 2, 3, 4, 5, 6], staged: None }),
            mark: None,
            inherited: None,
            fenced: None,
            file: None,
        }
    }

    #[test]
    fn p1_a_torn_write_leaves_the_record_before_it() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("d");
        let mut state = StateDir::open(&dir).unwrap();
        assert_eq!(state.record(), None);
        state.save(record(1), true).unwrap();
        state.save(record(2), true).unwrap();
        drop(state);
        let file = OpenOptions::new().write(true).open(dir.join("state")).unwrap();
        // The second record has an even sequence: the first slot.
        file.write_all_at(b"torn", 40).unwrap();
        assert_eq!(StateDir::open(&dir).unwrap().record().unwrap().confirmed, 1);
    }

    #[test]
    fn p1_a_directory_that_was_removed_is_built_anew_around_what_is_known() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("d");
        let mut state = StateDir::open(&dir).unwrap();
        state.save(record(7), true).unwrap();
        assert!(state.is_in_place());
        // An older copy in its place is no better than nothing.
        for older in [None, Some(3)] {
            fs::remove_dir_all(&dir).unwrap();
            if let Some(confirmed) = older {
                let mut copy = StateDir::open(&dir).unwrap();
                (0..9).for_each(|_| copy.save(record(confirmed), true).unwrap());
            }
            assert!(!state.is_in_place());
            state.put_back(record(8)).unwrap();
            assert!(state.is_in_place());
            assert_eq!(StateDir::open(&dir).unwrap_err().class(), crate::Class::Fenced, "locked again");
        }
        // Whoever removes it is half done.
        fs::remove_file(dir.join("state")).unwrap();
        assert!(!state.is_in_place());
        state.put_back(record(9)).unwrap();
        assert!(state.is_in_place());
        drop(state);
        assert_eq!(StateDir::open(&dir).unwrap().record().unwrap().confirmed, 9);
    }

    #[test]
    fn p4_a_second_holder_of_the_directory_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let _first = StateDir::open(tmp.path()).unwrap();
        let second = StateDir::open(tmp.path()).unwrap_err();
        assert_eq!(second.class(), crate::Class::Fenced);
    }
}
