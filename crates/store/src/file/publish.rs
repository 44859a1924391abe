//! From a temporary file to an object, in the one order that survives a crash:
//! write, set mtime, fsync, link or rename, fsync the directory.
//!
//! A temporary file that is dropped on the way is removed; those of crashed processes are removed by the first put
//! into their directory a day later, by the file server's own clock.

use super::{Inner, errors::failed, is_absence};
use crate::key::TEMP_PREFIX;
use crate::object::{PutMode, PutOptions, PutResult, Upload};
use crate::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, UNIX_EPOCH};

/// Temporary files older than this belong to nobody.
const ABANDONED: Duration = Duration::from_secs(86_400);

/// Directories that are remembered as swept, and as synced into their parents (P7).
const SWEPT: usize = 256;
const SYNCED: usize = 8192;

/// An unfinished object.
pub(super) struct Temp {
    key: String,
    target: PathBuf,
    path: PathBuf,
    file: File,
    keep: bool,
}

impl Temp {
    pub(super) fn write_at(&mut self, body: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(body, offset).map_err(|e| failed("put", &self.key, e))
    }

    pub(super) fn size(&self) -> Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(|e| failed("put", &self.key, e))
    }

    /// Leaves the file for [`Inner::reopen`] and returns its name.
    pub(super) fn keep(mut self) -> String {
        self.keep = true;
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Inner {
    /// A new temporary file beside the object it is for; creates directories below the root.
    pub(super) fn temp_for(&self, key: &str) -> Result<Temp> {
        if self.check_root()?.is_none() {
            self.make_dir(&self.root).map_err(|e| failed("create", &self.root.display().to_string(), e))?;
        }
        let target = self.path(key)?;
        let dir = target.parent().unwrap_or(&self.root).to_owned();
        self.make_dirs(&dir).map_err(|e| failed("put", key, e))?;
        let path = dir.join(format!("{TEMP_PREFIX}{:016x}", self.ids.next_u64()));
        let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = opened.map_err(|e| failed("put", key, e))?;
        self.sweep(&dir, &file);
        Ok(Temp { key: key.to_owned(), target, path, file, keep: false })
    }

    /// The temporary file of an upload.
    pub(super) fn reopen(&self, upload: &Upload) -> Result<Temp> {
        let target = self.path(&upload.key)?;
        if !upload.id.starts_with(TEMP_PREFIX) || upload.id.contains('/') {
            return Err(Error::Refused(format!("{:?} is no upload", upload.id)));
        }
        let path = target.parent().unwrap_or(&self.root).join(&upload.id);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Temp { key: upload.key.clone(), target, path, file, keep: false }),
            Err(error) if is_absence(&error) => Err(self.absent(&upload.key)),
            Err(error) => Err(failed("put", &upload.key, error)),
        }
    }

    /// Makes the temporary file the object.
    pub(super) fn publish(&self, mut temp: Temp, opts: &PutOptions) -> Result<PutResult> {
        let key = temp.key.clone();
        let fail = |e| failed("put", &key, e);
        if let Some(ms) = opts.modified_ms {
            temp.file.set_modified(UNIX_EPOCH + Duration::from_millis(ms.max(0) as u64)).map_err(fail)?;
        }
        temp.file.sync_all().map_err(fail)?;
        match opts.mode {
            PutMode::Overwrite => {
                fs::rename(&temp.path, &temp.target).map_err(fail)?;
                temp.keep = true; // the name is gone
            }
            PutMode::Create => self.link(&temp)?,
        }
        let dir = temp.target.parent().unwrap_or(&self.root);
        (self.sync_dir)(dir).map_err(fail)?;
        let meta = temp.file.metadata().map_err(fail)?;
        Ok(PutResult { etag: super::describe(key.clone(), &meta).etag, version: None })
    }

    /// Removes an object. The removal is not synced: after a power cut the object may be back, which harms nobody.
    pub(super) fn remove(&self, key: &str) -> Result<()> {
        match fs::remove_file(self.path(key)?) {
            Ok(()) => Ok(()),
            Err(error) if is_absence(&error) => self.check_root().map(|_| ()),
            Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(()),
            Err(error) => Err(failed("delete", key, error)),
        }
    }

    /// `mkdir -p` below the root, every directory synced into its parent, once per process: whoever made it may have died before (P1).
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        let synced = || self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if dir == self.root || (synced().contains(dir) && dir.is_dir()) {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            self.make_dirs(parent)?;
        }
        self.make_dir(dir)?;
        if synced().len() < SYNCED {
            synced().insert(dir.to_owned());
        }
        Ok(())
    }

    fn link(&self, temp: &Temp) -> Result<()> {
        let Err(error) = fs::hard_link(&temp.path, &temp.target) else { return Ok(()) };
        if error.kind() == ErrorKind::AlreadyExists {
            // NFS: a repeated LINK whose first reply was lost says "exists"; two names then prove that it was ours.
            if temp.file.metadata().is_ok_and(|meta| meta.nlink() > 1) {
                return Ok(());
            }
            return Err(match fs::symlink_metadata(&temp.target) {
                Ok(meta) if meta.is_dir() => failed("put", &temp.key, ErrorKind::IsADirectory.into()),
                Ok(meta) if meta.is_symlink() => super::refuse_link(&temp.target),
                // P1: what is compared with ours and found equal counts as stored, and whoever linked it may have died before the sync.
                _ => match temp.target.parent().map_or(Ok(()), self.sync_dir) {
                    Ok(()) => Error::exists(&temp.key),
                    Err(error) => failed("put", &temp.key, error),
                },
            });
        }
        use nix::errno::Errno;
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => Err(Error::Refused(
                format!("put {}: this file system has no hard links, which commits need", temp.key),
            )),
            _ => Err(failed("put", &temp.key, error)),
        }
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ if dir.is_dir() => dir.parent().map_or(Ok(()), self.sync_dir),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// Removes temporary files of crashed processes, once per directory and process.
    fn sweep(&self, dir: &Path, fresh: &File) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.len() >= SWEPT || !swept.insert(dir.to_owned()) {
            return;
        }
        let (Ok(entries), Ok(now)) = (fs::read_dir(dir), fresh.metadata().and_then(|m| m.modified())) else {
            return;
        };
        for entry in entries.flatten() {
            if !entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
                continue;
            }
            let age =
                entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| now.duration_since(at).ok());
            if age.is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
