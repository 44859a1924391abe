//! Objects as plain files: `<root>/<bucket>/<key>`.
//!
//! Tests look into the bucket, plant files and break them, so the disk is the truth: a listing walks it, and an
//! object's ETag is cached in a sidecar below `<root>/.meta` that is recomputed as soon as size or mtime differ.
//! Every change of a name happens under one lock by rename, which makes "create only if absent" atomic; under the same
//! lock metadata is read and a file opened: a read is of the object before a change or behind it, never of both. Known
//! limit of keys as paths: `a` and `a/b` cannot both exist, and empty or dotted path segments are refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};

/// What a store remembers of an object beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Hex MD5 of a single PUT, or `<md5 of md5s>-<parts>`.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
    /// Modification time of the file.
    pub(super) modified: SystemTime,
    /// System headers worth keeping (`content-type`, `content-encoding`).
    pub(super) headers: BTreeMap<String, String>,
    /// User metadata, without the `x-amz-meta-` prefix.
    pub(super) user: BTreeMap<String, String>,
}

/// On what a change depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    Absent,
    Etag(String),
}

/// Why a change was refused.
#[derive(Debug)]
pub(super) enum CommitError {
    Precondition,
    Missing,
    Io(io::Error),
}

impl From<io::Error> for CommitError {
    fn from(error: io::Error) -> Self {
        CommitError::Io(error)
    }
}

/// The directory behind a server.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    names: Mutex<()>,
    serial: AtomicU64,
}

impl Disk {
    pub(super) fn open(root: &Path, bucket: &str) -> io::Result<Disk> {
        for dir in [bucket, ".meta", ".tmp", ".uploads"] {
            fs::create_dir_all(root.join(dir))?;
        }
        let seed = u64::from(std::process::id()) << 32;
        Ok(Disk { root: root.to_path_buf(), names: Mutex::new(()), serial: AtomicU64::new(seed) })
    }

    pub(super) fn bucket(&self, bucket: &str) -> Option<PathBuf> {
        let path = self.root.join(bucket);
        (!bucket.starts_with('.') && path.is_dir()).then_some(path)
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join(".uploads")
    }

    /// A name nobody used before, also across restarts of the server in one directory.
    pub(super) fn unique(&self) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{:x}", serial, unix_ns(SystemTime::now()))
    }

    pub(super) fn temp(&self) -> io::Result<(File, PathBuf)> {
        let path = self.root.join(".tmp").join(self.unique());
        Ok((File::create_new(&path)?, path))
    }

    /// Where the object lies; `None` for keys that are no relative path.
    pub(super) fn path(&self, bucket: &str, key: &str) -> Option<PathBuf> {
        safe(key).then(|| self.root.join(bucket).join(key))
    }

    fn sidecar(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join(".meta").join(bucket).join(format!("{key}.meta"))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a finished temp file under its key, atomically with the check of the condition.
    pub(super) fn commit(
        &self,
        (bucket, key): (&str, &str),
        temp: &Path,
        meta: &mut Meta,
        condition: &Condition,
    ) -> Result<(), CommitError> {
        let path = self.path(bucket, key).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let stat = fs::metadata(temp)?;
        (meta.size, meta.modified) = (stat.len(), stat.modified()?);
        let _names = self.lock();
        match condition {
            Condition::Always => {}
            Condition::Absent if path.exists() => return Err(CommitError::Precondition),
            Condition::Absent => {}
            Condition::Etag(_) if !path.is_file() => return Err(CommitError::Missing),
            Condition::Etag(etag) if self.current(bucket, key)?.etag != *etag => {
                return Err(CommitError::Precondition);
            }
            Condition::Etag(_) => {}
        }
        self.write_sidecar(bucket, key, meta)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(fs::rename(temp, path)?)
    }

    /// Removes an object and the directories it leaves empty; a missing one is fine.
    pub(super) fn remove(&self, bucket: &str, key: &str) -> io::Result<()> {
        let Some(path) = self.path(bucket, key) else { return Ok(()) };
        let _names = self.lock();
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        let _ = fs::remove_file(self.sidecar(bucket, key));
        let top = self.root.join(bucket);
        let mut parent = path.parent();
        while let Some(dir) = parent.filter(|dir| *dir != top && fs::remove_dir(dir).is_ok()) {
            parent = dir.parent();
        }
        Ok(())
    }

    /// Metadata of an object, computed from the file where the sidecar does not speak of it.
    pub(super) fn meta(&self, bucket: &str, key: &str) -> io::Result<Meta> {
        let _names = self.lock();
        self.current(bucket, key)
    }

    /// Metadata of an object, and the very file that it describes.
    pub(super) fn open_object(&self, bucket: &str, key: &str) -> io::Result<(Meta, File)> {
        let _names = self.lock();
        let meta = self.current(bucket, key)?;
        let path = self.path(bucket, key).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok((meta, File::open(path)?))
    }

    /// See [`Self::meta`]; the caller holds the lock.
    fn current(&self, bucket: &str, key: &str) -> io::Result<Meta> {
        let path = self.path(bucket, key).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let stat = fs::metadata(&path)?;
        if !stat.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (size, modified) = (stat.len(), stat.modified()?);
        let stored = fs::read_to_string(self.sidecar(bucket, key)).ok().and_then(|text| decode(&text));
        if let Some(meta) = stored
            && meta.size == size
            && unix_ns(meta.modified) == unix_ns(modified)
        {
            return Ok(meta);
        }
        let etag = md5_of(&mut File::open(&path)?)?;
        let meta = Meta { etag, size, modified, headers: BTreeMap::new(), user: BTreeMap::new() };
        self.write_sidecar(bucket, key, &meta)?;
        Ok(meta)
    }

    fn write_sidecar(&self, bucket: &str, key: &str, meta: &Meta) -> io::Result<()> {
        let path = self.sidecar(bucket, key);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let temp = self.root.join(".tmp").join(self.unique());
        fs::write(&temp, encode(meta))?;
        fs::rename(temp, path)
    }
}

fn safe(key: &str) -> bool {
    !key.is_empty() && !key.contains('\0') && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn unix_ns(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

fn md5_of(file: &mut File) -> io::Result<String> {
    let (mut hasher, mut buffer) = (Md5::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// One fact per line; header values cannot hold line ends.
pub(super) fn encode(meta: &Meta) -> String {
    let mut text = format!("etag {}\nsize {}\nmtime {}\n", meta.etag, meta.size, unix_ns(meta.modified));
    for (name, value) in &meta.headers {
        text.push_str(&format!("header {name} {value}\n"));
    }
    for (name, value) in &meta.user {
        text.push_str(&format!("user {name} {value}\n"));
    }
    text
}

pub(super) fn decode(text: &str) -> Option<Meta> {
    let mut meta = Meta {
        etag: String::new(),
        size: 0,
        modified: UNIX_EPOCH,
        headers: BTreeMap::new(),
        user: BTreeMap::new(),
    };
    for line in text.lines() {
        let (what, rest) = line.split_once(' ')?;
        match what {
            "etag" => meta.etag = rest.to_owned(),
            "size" => meta.size = rest.parse().ok()?,
            "mtime" => meta.modified = UNIX_EPOCH + Duration::from_nanos(rest.parse().ok()?),
            "header" | "user" => {
                let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
                let map = if what == "user" { &mut meta.user } else { &mut meta.headers };
                map.insert(name.to_owned(), value.to_owned());
            }
            _ => return None,
        }
    }
    Some(meta)
}
