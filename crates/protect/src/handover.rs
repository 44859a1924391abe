//! `restored.json`: what `restore init` did, handed to the sidecars of the same pod.
//!
//! Written once per start, after everything is in place; its appearance is what the sidecars wait for, so it appears whole or not
//! at all (temporary file, sync, rename, sync of the directory). A pod's scratch volume survives a node reboot while init
//! containers run again: an earlier start's file is withdrawn before anything else is done.
//!
//! Promises: trap 20 (a sidecar that resolves another description refuses), trap 4 (epoch and TXID of the claim made before the
//! restore travel here; the sidecar inherits that claim and never makes one by itself). Read strictly: unknown keys, versions and
//! malformed ids are errors, never guesses.

use crate::{Description, Error};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Scratch directory that the containers of a pod share, unless `--run-dir` or `HIGHWATER_RUN_DIR` names another.
pub const RUN_DIR: &str = "/highwater/run";
/// The file below it.
pub const FILE_NAME: &str = "restored.json";

/// Version of the document.
const FORMAT: u32 = 1;
/// Bytes; some 50,000 databases (P7).
const LARGEST: u64 = 16 << 20;

const TOO_LARGE: &str = "larger than 16 MiB";

/// Everything that was restored, or found in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// Version of this document: 1.
    pub format: u32,
    /// [`Description::fingerprint`] of the description that was acted on.
    pub description: String,
    /// When it was done, RFC 3339.
    pub finished: String,
    /// One per database file.
    pub databases: Vec<RestoredDatabase>,
    /// One per directory tree.
    pub files: Vec<RestoredFiles>,
}

/// How something came to be as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Local data was good and was left alone.
    Kept,
    /// It came from the replica.
    Restored,
    /// Neither local data nor a replica: the application starts with nothing.
    Fresh,
    /// It came from an older point of the replica because `restore-at` asked for it; what was there is set aside. The next upload
    /// is a full image.
    Forced,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoredDatabase {
    /// As [`crate::Database::replica_of`] takes it: relative to the root, or absolute.
    pub path: String,
    /// How it came to be.
    pub outcome: Outcome,
    /// Id of the history; 0 if nobody knows one yet.
    #[serde(with = "hex_u64")]
    pub lineage: u64,
    /// Number of the claim; 0 if there is none.
    pub epoch: u32,
    /// TXID of the claim, which the database is the state of; 0 if the claim took none (an empty replica).
    #[serde(with = "hex_u64")]
    pub txid: u64,
    /// The claim was made. False only when the store was unreachable and healthy local data starts without it: the sidecar claims.
    pub claimed: bool,
    /// Bytes of the database.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// One directory tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoredFiles {
    /// Relative to the root; `.` is the root itself.
    pub path: String,
    /// How it came to be.
    pub outcome: Outcome,
    /// Number of the claim; 0 if there is none.
    pub epoch: u32,
    /// Number of the manifest the tree is the state of; 0 if there is none.
    pub snapshot: u64,
    /// As [`RestoredDatabase::claimed`].
    pub claimed: bool,
    /// Bytes of the tree.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

// Seconds come from a clock and are never NaN.
impl Eq for RestoredDatabase {}
impl Eq for RestoredFiles {}

impl Handover {
    /// An empty document about `description`.
    pub fn new(description: &Description, finished: String) -> Self {
        Self {
            format: FORMAT,
            description: description.fingerprint(),
            finished,
            databases: vec![],
            files: vec![],
        }
    }

    /// Where it is, below a run directory.
    pub fn path_in(run_dir: &Path) -> PathBuf {
        run_dir.join(FILE_NAME)
    }

    /// Reads it; `None` while it is not there yet.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Unreadable { path: path.to_owned(), source }),
        }
        let wrong = |reason: String| Error::Handover { path: path.to_owned(), reason };
        if text.len() as u64 > LARGEST {
            return Err(wrong(TOO_LARGE.into()));
        }
        let read: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        read.checked().map(Some).map_err(wrong)
    }

    /// Writes it so that a reader sees all of it or nothing, durably.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let wrong = |reason: String| Error::Handover { path: path.to_owned(), reason };
        let checked = self.clone().checked().map_err(wrong)?;
        let text = serde_json::to_string_pretty(&checked).expect("plain fields serialise");
        if text.len() as u64 >= LARGEST {
            return Err(wrong(TOO_LARGE.into()));
        }
        let temporary = path.with_extension("json.tmp");
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            sync_parent(path)
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            wrong(format!("cannot write it: {error}"))
        })
    }

    /// Takes away what an earlier start of this pod left, durably. Done before anything else.
    pub fn withdraw(path: &Path) -> Result<(), Error> {
        let removed = match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.and_then(|()| sync_parent(path)),
        };
        removed.map_err(|error| Error::Handover {
            path: path.to_owned(),
            reason: format!("cannot withdraw an earlier start's: {error}"),
        })
    }

    /// Refuses to work from another description than the one that was restored (trap 20).
    pub fn check(&self, description: &Description) -> Result<(), Error> {
        let ours = description.fingerprint();
        if self.description == ours {
            return Ok(());
        }
        Err(Error::OtherDescription { restored: self.description.clone(), ours })
    }

    /// What happened to a database.
    pub fn database(&self, path: &str) -> Option<&RestoredDatabase> {
        self.databases.iter().find(|database| database.path == path)
    }

    /// What happened to a tree.
    pub fn tree(&self, path: &str) -> Option<&RestoredFiles> {
        self.files.iter().find(|tree| tree.path == path)
    }

    fn checked(self) -> Result<Self, String> {
        if self.format != FORMAT {
            return Err(format!("has format {}, this program knows {FORMAT}", self.format));
        }
        if self.description.len() != 64 || !self.description.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("its description is not a SHA-256 in hex".into());
        }
        if clock::parse_unix_ms(&self.finished).is_none() {
            return Err("finished is not an RFC 3339 time".into());
        }
        let mut paths = HashSet::new();
        for database in &self.databases {
            let path = &database.path;
            if !paths.insert(path) {
                return Err(format!("{path:?} stands there twice"));
            }
            if database.claimed != (database.epoch > 0) || (database.claimed && database.lineage == 0) {
                return Err(format!(
                    "{path:?}: a claim has an epoch and a lineage, and no claim has no epoch"
                ));
            }
        }
        let mut paths = HashSet::new();
        for tree in &self.files {
            if !paths.insert(&tree.path) {
                return Err(format!("{:?} stands there twice", tree.path));
            }
            if tree.claimed != (tree.epoch > 0) {
                return Err(format!("{:?}: a claim has an epoch, and no claim has none", tree.path));
            }
        }
        Ok(self)
    }
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// 64 bits as 16 lowercase hex digits: TXIDs and lineages as every other place shows them.
mod hex_u64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(lower) {
            return Err(D::Error::custom(format!("{text:?} is not 16 lowercase hex digits")));
        }
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
