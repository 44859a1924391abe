//! SQLite files by their first bytes, and caches by their tag.
//!
//! A header is read once per version of a file (inode, size, change time). Names do not count: `*.db*` would drop `x.db.bak` and
//! let `db.sqlite3` through. A `-wal` without its database is recognised by its own magic. What the disk does not give is not known, and
//! not remembered: a live database taken for a plain file would be stored torn (P2).

use crate::scan::Look;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

const DATABASE: &[u8] = b"SQLite format 3\0";
const WAL: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

type Version = (u64, u64, crate::entry::Time);

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Database,
    Other,
    /// They cannot be read.
    Unknown,
}

/// Which versions of files were seen to be SQLite's.
#[derive(Debug, Default)]
pub(super) struct Headers {
    known: HashMap<Version, Header>,
    seen: HashMap<Version, Header>,
}

impl Headers {
    pub(super) fn begin(&mut self) {
        self.seen.clear();
    }

    /// Forgets what is not there any more (P7).
    pub(super) fn end(&mut self) {
        self.known = std::mem::take(&mut self.seen);
    }

    pub(super) fn of(&mut self, dir: &OwnedFd, name: &[u8], look: &Look) -> Header {
        let version = (look.ino, look.size, look.ctime);
        let known = self.known.get(&version).or_else(|| self.seen.get(&version)).copied();
        let answer = known.unwrap_or_else(|| header(dir, name));
        if answer != Header::Unknown {
            self.seen.insert(version, answer);
        }
        answer
    }
}

/// Whether a file is a database, or the WAL of one, by its first bytes; no, if they cannot be read.
pub(crate) fn is_database(dir: &OwnedFd, name: &[u8]) -> bool {
    header(dir, name) == Header::Database
}

/// A file that is gone or may not be opened is no database as far as we can tell; reading it for the snapshot will say why.
fn header(dir: &OwnedFd, name: &[u8]) -> Header {
    match first_bytes(dir, name, DATABASE.len()) {
        Ok(head) if head == DATABASE => Header::Database,
        Ok(head) if name.ends_with(b"-wal") && WAL.iter().any(|magic| head.starts_with(magic)) => {
            Header::Database
        }
        Ok(_) | Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::LOOP) => Header::Other,
        Err(_) => Header::Unknown,
    }
}

/// Whether `name` is the database `base` or one of its side files.
pub(super) fn belongs_to(name: &[u8], base: &[u8]) -> bool {
    name == base || base_of(name) == Some(base)
}

/// The database beside which a file of this name would lie if it is a side file.
pub(crate) fn base_of(name: &[u8]) -> Option<&[u8]> {
    [&b"-wal"[..], b"-shm", b"-journal"].iter().find_map(|suffix| name.strip_suffix(*suffix))
}

/// A tag that cannot be read makes no cache: what is below is kept rather than left out.
pub(super) fn is_cache(dir: &OwnedFd) -> bool {
    first_bytes(dir, b"CACHEDIR.TAG", CACHE_TAG.len()).is_ok_and(|head| head == CACHE_TAG)
}

/// Fewer if the file is shorter.
fn first_bytes(dir: &OwnedFd, name: &[u8], count: usize) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let mut head = vec![0; count];
    let mut have = 0;
    while have < count {
        match rustix::io::read(file.as_fd(), &mut head[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    head.truncate(have);
    Ok(head)
}
