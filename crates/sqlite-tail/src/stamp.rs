//! Which file a database is, and what its file looks like while only we could let anybody write it.
//!
//! On READ_LOCK(0) nobody can backfill (decision 0002), and outside of a checkpoint SQLite never writes the file of a database in
//! WAL mode. So a size or time that changes meanwhile is somebody else's doing: `cp` over the file, a restore into it.

use crate::Error;
use crate::files::Files;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

/// Which file it is; a replacement under the same name is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Inode number; file systems use them again.
    pub inode: u64,
    /// When the file was created, in ms since 1970, where the file system knows it.
    pub born_ms: Option<i64>,
}

/// Size and time of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes.
    pub size: u64,
    /// Time of the last write, s and ns.
    pub written: (i64, i64),
}

impl FileIdentity {
    /// Of a file that nobody has attached.
    pub fn of(meta: &Metadata) -> Self {
        let born = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self { inode: meta.ino(), born_ms: born.map(|at| at.as_millis() as i64) }
    }
}

impl FileStamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self { size: meta.len(), written: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl Files {
    pub(crate) fn metadata(&self) -> Result<Metadata, Error> {
        self.db.metadata().map_err(Error::io("stat", &self.path))
    }
}
