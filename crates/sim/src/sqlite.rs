//! Two calls of SQLite that rusqlite offers behind a feature or not at all.
#![allow(unsafe_code)]

use rusqlite::{Connection, ffi};
use std::ffi::c_int;
use std::ptr;

/// SQLite's own random numbers (salts of WALs) follow from the seed.
pub(crate) fn seed(seed: u64) {
    // 0 would mean "at random".
    let seed = (seed as c_int) | 1;
    // SAFETY: the verb takes an int and a connection, which may be null.
    unsafe {
        ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_PRNG_SEED, seed, ptr::null_mut::<ffi::sqlite3>())
    };
}

/// All pages of the committed state, as this connection reads them.
pub(crate) fn pages(connection: &Connection) -> Vec<u8> {
    let mut size = 0;
    // SAFETY: the handle is valid while the connection is borrowed; what is returned is freed below with SQLite's own allocator
    // and is `size` bytes long.
    unsafe {
        let bytes = ffi::sqlite3_serialize(connection.handle(), c"main".as_ptr(), &raw mut size, 0);
        if bytes.is_null() {
            return Vec::new();
        }
        let pages = std::slice::from_raw_parts(bytes, size as usize).to_vec();
        ffi::sqlite3_free(bytes.cast());
        pages
    }
}
