//! What a volume remembers of its replica, beside the database in `.highwater/<database>/`.
//!
//! One record in two slots of one file, written in turns: `<crc-64 of the JSON, 16 hex> <JSON>\n`, padded with spaces to 4 KiB.
//! The newer intact slot counts, so that a torn write costs nothing. The record is made durable before each PUT (the *intent*),
//! which is what lets a restart tell its own lost reply from another writer (P4) and resend identical bytes (P1).

use crate::error::{Error, Result};
use crate::identity::Identity;
use ltx::checksum::Crc64;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sqlite_tail::Position;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const SLOT: usize = 4096;
/// Version of the record; a newer one is refused unchanged. 2 added `inherited` and `fenced`.
const FORMAT: u32 = 2;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this document.
    pub format: u32,
    /// Grows by one with each write; the larger one of the two slots counts.
    pub sequence: u64,
    /// URL of the replica, for messages.
    pub replica: String,
    /// Whose replica it is.
    pub identity: Identity,
    /// Id of the history.
    pub lineage: u64,
    /// Number of our claim.
    pub epoch: u32,
    /// Newest TXID known to be in the store; 0 = none yet.
    pub confirmed: u64,
    /// The object that was being written.
    pub intent: Option<Intent>,
    /// Everything below is the state after the intent, or after `confirmed` when there is none.
    pub mark: Option<Mark>,
    /// The claim that was made for this volume by the start of its pod; `None` where each start claims.
    #[serde(default)]
    pub inherited: Option<Inherited>,
    /// The claim was lost: nothing is written any more until somebody claims anew.
    #[serde(default)]
    pub fenced: Option<Lost>,
    /// Which file the database was; `None` where any file is to be believed.
    #[serde(default)]
    pub file: Option<FileMark>,
}

/// A database file as a writer left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Inode number.
    pub inode: u64,
    /// Time of creation, ms, where the file system knows it.
    pub born_ms: Option<i64>,
    /// Size and time of the last write (s, ns), if everything was in the file and nobody could write it.
    pub rested: Option<(u64, i64, i64)>,
    /// It was found to hold something else than it should: the next start compares it, whatever the WAL proves.
    pub suspect: bool,
}

/// A claim that a writer goes on under without having made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Its number.
    pub epoch: u32,
    /// Its TXID, 0 if the replica held no file.
    pub txid: u64,
    /// The database is known not to be the state of the claim: the first object is a full image.
    pub image: bool,
    /// What the database file is to the claim.
    pub data: Data,
    /// Rolling checksum of the claimed state, where no mark says it; 0 if it is not known.
    pub rolling: u64,
    /// Timestamp of the claim, ms, where no mark says it.
    pub timestamp_ms: i64,
}

/// What a database file is to the claim that was made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    /// What the record says.
    Known,
    /// Not established: the sidecar compares it with the claimed state.
    Unknown,
    /// Not in place yet: a start that was interrupted must not take what is there for it (P3).
    Missing,
}

/// When a claim was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The TXID that turned out to be somebody else's, or to lie behind his.
    pub txid: u64,
    /// By our clock, ms.
    pub unix_ms: i64,
}

/// An object about to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its TXID.
    pub txid: u64,
    /// Id of this one object.
    pub write_id: [u8; 6],
    /// Size and SHA-256 of the staged object; `None` for an image that is streamed without a local copy.
    pub staged: Option<Staged>,
}

/// A staged object that can be sent again, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Bytes.
    pub size: u64,
    /// Hex digest.
    pub sha256: String,
    /// What is sent is `staged.object`, and `staged.ltx` the same in plain text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// The database as of a TXID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes per page.
    pub page_size: u32,
    /// Pages.
    pub commit: u32,
    /// Rolling checksum of all pages.
    pub rolling: u64,
    /// Timestamp in the newest header, ms.
    pub timestamp_ms: i64,
    /// Where the copying stands in the WAL.
    pub position: WalPosition,
}

/// [`Position`] as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of `Position`
pub struct WalPosition {
    pub salt1: u32,
    pub salt2: u32,
    pub frame: u32,
    pub cksum1: u32,
    pub cksum2: u32,
}

impl Mark {
    /// The position in the WAL.
    pub fn position(&self) -> Position {
        let WalPosition { salt1, salt2, frame, cksum1, cksum2 } = self.position;
        Position { salt1, salt2, frame, cksum1, cksum2, page_size: self.page_size, commit: self.commit }
    }
}

impl From<Position> for WalPosition {
    fn from(p: Position) -> Self {
        WalPosition { salt1: p.salt1, salt2: p.salt2, frame: p.frame, cksum1: p.cksum1, cksum2: p.cksum2 }
    }
}

/// The directory of one database's local state, locked for this process.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    slots: File,
    _lock: Flock<File>,
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
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(Error::io(dir, "create the state directory"))?;
        let open = |name: &str| {
            let path = dir.join(name);
            let options =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
            options.open(&path).map_err(Error::io(&path, "open"))
        };
        let lock =
            Flock::lock(open("lock")?, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    nix::errno::Errno::EWOULDBLOCK => Error::Fenced {
                        what: format!("{} is locked by another process", dir.display()),
                        hint: "one streamer per database; stop the other one".into(),
                    },
                    errno => Error::Io { path: dir.join("lock"), doing: "lock", source: errno.into() },
                },
            )?;
        let slots = open("state")?;
        let record = read(&slots, dir)?;
        Ok(StateDir { dir: dir.to_owned(), slots, _lock: lock, record })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The page table's file.
    pub fn table(&self) -> PathBuf {
        self.dir.join("pages")
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
    fn p4_a_second_holder_of_the_directory_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let _first = StateDir::open(tmp.path()).unwrap();
        let second = StateDir::open(tmp.path()).unwrap_err();
        assert_eq!(second.class(), crate::Class::Fenced);
    }
}
