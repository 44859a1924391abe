//! What the system says of one thing without opening it.

use crate::entry::Time;
use crate::{Error, Result};
use rustix::fs::{AtFlags, FileType, Stat};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What `stat` says, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) kind: FileType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
    pub(crate) ino: u64,
    pub(crate) nlink: u64,
    pub(crate) blocks: u64,
    pub(crate) dev: u64,
}

#[allow(clippy::unnecessary_cast, reason = "the types of stat differ between architectures")]
impl From<Stat> for Look {
    fn from(s: Stat) -> Look {
        Look {
            kind: FileType::from_raw_mode(s.st_mode),
            mode: s.st_mode & 0o7777,
            uid: s.st_uid,
            gid: s.st_gid,
            size: s.st_size as u64,
            mtime: Time { sec: s.st_mtime as i64, nsec: s.st_mtime_nsec as u32 },
            ctime: Time { sec: s.st_ctime as i64, nsec: s.st_ctime_nsec as u32 },
            ino: s.st_ino as u64,
            nlink: s.st_nlink as u64,
            blocks: s.st_blocks as u64,
            dev: s.st_dev as u64,
        }
    }
}

impl Look {
    /// Equal for two looks between which nobody wrote, as far as `stat` can tell.
    pub(crate) fn same_version(&self, other: &Look) -> bool {
        (self.kind, self.ino, self.size, self.mtime, self.ctime)
            == (other.kind, other.ino, other.size, other.mtime, other.ctime)
    }
}

/// `None` if it is gone.
pub(crate) fn look_at(dir: &OwnedFd, name: &[u8], place: &Path) -> Result<Option<Look>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => {
            use std::os::unix::ffi::OsStrExt;
            Err(Error::sys(&place.join(std::ffi::OsStr::from_bytes(name)), "look at")(errno))
        }
    }
}
