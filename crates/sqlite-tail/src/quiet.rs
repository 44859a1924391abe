//! The calls that rusqlite does not offer; the only unsafe code of this crate.
//!
//! PERSIST_WAL keeps a last close from deleting the WAL (trap 7b, 7c); switching lookaside off saves some 40 KiB per
//! connection, and `sqlite3_wal_checkpoint_v2` does without the parsed schema that `PRAGMA wal_checkpoint` asks for
//! (trap 14). All are plain C calls on a handle that the borrowed `Connection` keeps open.
#![allow(unsafe_code)]

use rusqlite::{Connection, ffi};
use std::ffi::c_int;
use std::ptr;

/// Sets SQLITE_FCNTL_PERSIST_WAL and gives the lookaside memory back.
pub(crate) fn persist_wal_without_lookaside(connection: &Connection) -> rusqlite::Result<()> {
    // SAFETY: the handle is valid while `connection` is borrowed, both calls end before it is released, the
    // pointers live through the calls, and the argument types are those `sqlite3.h` documents for the two verbs.
    let (persist, lookaside) = unsafe {
        let handle = connection.handle();
        let mut on: c_int = 1;
        (
            ffi::sqlite3_file_control(
                handle,
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_PERSIST_WAL,
                (&raw mut on).cast(),
            ),
            ffi::sqlite3_db_config(
                handle,
                ffi::SQLITE_DBCONFIG_LOOKASIDE,
                ptr::null_mut::<std::ffi::c_void>(),
                0 as c_int,
                0 as c_int,
            ),
        )
    };
    // Lookaside answers BUSY when memory of it is in use: then it merely stays.
    for code in [persist, if lookaside == ffi::SQLITE_BUSY { ffi::SQLITE_OK } else { lookaside }] {
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
    }
    Ok(())
}

/// Gives back the pages that the connection keeps in case they are read again: one of them for each of hundreds of idle connections (P7).
pub(crate) fn release_pages(connection: &Connection) {
    // SAFETY: as above. It gives no error.
    unsafe { ffi::sqlite3_db_release_memory(connection.handle()) };
}

/// Runs a checkpoint; `true` if a lock was not to be had.
pub(crate) fn checkpoint(connection: &Connection, mode: c_int) -> rusqlite::Result<bool> {
    // SAFETY: as above; the two out-parameters may be null (`sqlite3.h`).
    let code = unsafe {
        ffi::sqlite3_wal_checkpoint_v2(
            connection.handle(),
            c"main".as_ptr(),
            mode,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    match code {
        ffi::SQLITE_OK => Ok(false),
        code if code & 0xff == ffi::SQLITE_BUSY => Ok(true),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}
