//! Other processes' POSIX locks on the database and `-shm`, seen without taking any (trap 6).
//!
//! `F_GETLK` reports the first foreign lock in a range and ignores our own. Everyone who has a WAL database open
//! holds a lock in the database's SHARED range *and* one on the "dead man's switch" byte of the `-shm` he uses. The
//! first without the second means that he uses another `-shm`, thus another WAL: a bind-mounted or linked file.

use crate::wal_index::DMS_BYTE;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;

/// First byte of the SHARED range of a database file and its length (`os_unix.c`).
const SHARED_RANGE: (i64, i64) = (0x4000_0002, 510);

/// The lock byte of writers in `-shm`.
const WRITE_BYTE: i64 = 120;

/// Who else uses the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// Nobody, or processes that share our wal-index.
    Fine,
    /// Somebody holds the whole file: `locking_mode=EXCLUSIVE`, or a rollback-journal writer.
    Exclusive,
    /// Somebody uses the file with another wal-index.
    ForeignWal,
}

/// Looks once; transient states (a connection being opened or closed) are for the caller to look at again.
pub(crate) fn neighbours(db: &File, shm: Option<&File>) -> Result<Neighbours, Errno> {
    let Some(kind) = foreign(db, SHARED_RANGE)? else { return Ok(Neighbours::Fine) };
    if kind == libc::F_WRLCK {
        return Ok(Neighbours::Exclusive);
    }
    match shm.map(|shm| foreign(shm, (DMS_BYTE, 1))).transpose()?.flatten() {
        Some(_) => Ok(Neighbours::Fine),
        None => Ok(Neighbours::ForeignWal),
    }
}

/// Whether somebody holds the lock of writers of this wal-index. Asked as an open file description, so that connections of our own
/// process count too.
pub(crate) fn is_writing(shm: &File) -> Result<bool, Errno> {
    let mut lock = libc::flock {
        l_type: libc::F_RDLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: WRITE_BYTE,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(shm, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn foreign(file: &File, (start, len): (i64, i64)) -> Result<Option<i32>, Errno> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    let kind = i32::from(lock.l_type);
    Ok((kind != libc::F_UNLCK).then_some(kind))
}
