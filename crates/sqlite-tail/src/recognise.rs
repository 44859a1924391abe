//! What a file is, by its first bytes; never opens a file this process is attached to (trap 7a).

use crate::{Error, registry};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Shannon entropy in bits per byte above which a header that is not SQLite's looks encrypted.
const ENCRYPTED_ENTROPY: f64 = 7.2;

/// What [`recognise`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A database in WAL mode.
    Wal,
    /// A database with a rollback journal.
    Rollback,
    /// Attached by this process already, so not opened again.
    Attached,
    /// No bytes yet: an application may be about to create its database.
    Empty,
    /// No SQLite header and close to random: an encrypted database, perhaps.
    Encrypted,
    /// Some other file.
    Other,
}

/// Looks at the first page of a regular file. Must not be used on files that this process has open through SQLite
/// by other means than a [`Tail`](crate::Tail): closing the descriptor drops SQLite's locks.
pub fn recognise(path: &Path) -> Result<Kind, Error> {
    let meta = fs::metadata(path).map_err(|e| cannot_see(path, e))?;
    if !meta.is_file() {
        return Err(Error::NotADatabase {
            path: path.to_owned(),
            hint: if meta.is_dir() {
                "it is a directory; name the file in it"
            } else {
                "it is no regular file"
            },
        });
    }
    registry::unless_attached(&meta, || head(path)).map_or(Ok(Kind::Attached), |head| Ok(kind_of(&head?)))
}

/// The start of the first page.
fn head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::with_capacity(4096);
    File::open(path)
        .map_err(|e| cannot_see(path, e))?
        .take(4096)
        .read_to_end(&mut head)
        .map_err(Error::io("read", path))?;
    Ok(head)
}

pub(crate) fn cannot_see(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::NotFound { path: path.to_owned(), hint: "the application has not created it yet" }
        }
        io::ErrorKind::PermissionDenied => Error::refused(
            path,
            "permission denied",
            "run with the uid of the file's owner (securityContext.runAsUser)",
        ),
        _ => Error::Io { what: "open", path: path.to_owned(), source: error },
    }
}

/// `head` is the start of the file, 100 bytes at least if it is a database.
pub(crate) fn kind_of(head: &[u8]) -> Kind {
    if head.is_empty() {
        return Kind::Empty;
    }
    if head.len() >= 100 && head.starts_with(MAGIC) {
        // Bytes 18 and 19: file format write and read version, 2 means WAL.
        return if head[18] == 2 && head[19] == 2 { Kind::Wal } else { Kind::Rollback };
    }
    if head.len() >= 512 && entropy(head) > ENCRYPTED_ENTROPY { Kind::Encrypted } else { Kind::Other }
}

/// Bytes per page from a database's first 100 bytes; `None` if the field is no page size.
pub fn page_size(head: &[u8]) -> Option<u32> {
    let size = match u16::from_be_bytes([*head.get(16)?, *head.get(17)?]) {
        1 => 65_536,
        size => u32::from(size),
    };
    crate::wal::is_page_size(size).then_some(size)
}

fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let total = bytes.len() as f64;
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / total).map(|p| -p * p.log2()).sum()
}
