//! Whether somebody has a database open: seen by the POSIX locks SQLite holds, without taking one.
//!
//! An open WAL database holds a lock in the SHARED range of the file for as long as it is open; one with a rollback journal only while
//! a transaction runs, so an idle one is not seen. `F_GETLK` reports other processes only, and the descriptor used for asking must not be
//! of a file that this process has open through SQLite: closing it would drop those locks (trap 7).

use crate::error::{Error, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io;
use std::path::Path;

/// PENDING, RESERVED and the SHARED range of a database file (`os_unix.c`).
const LOCKS: (i64, i64) = (0x4000_0000, 512);

/// Refuses a database that another process has open.
pub fn refuse_open(database: &Path) -> Result<()> {
    let file = match File::open(database) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(database, "open")(e)),
    };
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: LOCKS.0,
        l_len: LOCKS.1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))
        .map_err(|e| Error::io(database, "ask for locks of")(e.into()))?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(());
    }
    // Across PID namespaces the id is 0 or another's; it is a hint, nothing more.
    let who = if lock.l_pid > 0 { format!("process {}", lock.l_pid) } else { "another process".into() };
    Err(Error::Refused {
        what: format!("{} is open in {who}", database.display()),
        hint: "stop the application and its sidecar first, or restore to another path".into(),
    })
}
