//! SQLite's own opinion of a restored file, asked without leaving a trace beside it.

use crate::error::{Error, Result};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// How deeply SQLite looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// Not at all.
    None,
    /// `PRAGMA quick_check`: structure, without comparing indexes with tables.
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

/// Checks the database at `path`; opened `immutable`, so that no `-wal` or `-shm` appears.
pub(super) fn check(path: &Path, depth: Integrity) -> Result<()> {
    let pragma = match depth {
        Integrity::None => return Ok(()),
        Integrity::Quick => "PRAGMA quick_check(1)",
        Integrity::Full => "PRAGMA integrity_check(1)",
    };
    let finding = (|| {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let uri = format!("file:{}?immutable=1", escape(path));
        Connection::open_with_flags(uri, flags)?.query_row(pragma, [], |row| row.get::<_, String>(0))
    })();
    match finding {
        Ok(text) if text == "ok" => Ok(()),
        Ok(text) => Err(Error::Integrity { path: path.to_owned(), what: format!("integrity check: {text}") }),
        Err(e) => {
            Err(Error::Integrity { path: path.to_owned(), what: format!("SQLite cannot read it: {e}") })
        }
    }
}

/// A path as part of a `file:` URI.
fn escape(path: &Path) -> String {
    let mut uri = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'~' => uri.push(*byte as char),
            b if b.is_ascii_alphanumeric() => uri.push(*b as char),
            b => uri.push_str(&format!("%{b:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_database_is_found_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a ?#%.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(90000))",
        )
        .unwrap();
        drop(db);
        check(&path, Integrity::Full).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        assert!(check(&path, Integrity::Quick).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
