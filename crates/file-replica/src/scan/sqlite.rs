//! SQLite files by their first bytes, and caches by their tag.
//!
//! A header is read once per version of a file (inode, size, change time). Names do not count: `*.db*` would drop `x.db.bak` and
//! let `db.sqlite3` through. A `-wal` without its database is recognised by its own magic.

use crate::scan::Look;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

const DATABASE: &[u8] = b"SQLite format 3\0";
const WAL: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

type Version = (u64, u64, crate::entry::Time);

/// Which versions of files were seen to be SQLite's.
#[derive(Debug, Default)]
pub(super) struct Headers {
    known: HashMap<Version, bool>,
    seen: HashMap<Version, bool>,
}

impl Headers {
    pub(super) fn begin(&mut self) {
        self.seen.clear();
    }

    /// Forgets what is not there any more (P7).
    pub(super) fn end(&mut self) {
        self.known = std::mem::take(&mut self.seen);
    }

    /// A file that cannot be opened is no database as far as we can tell; reading it for the snapshot will say why.
    pub(super) fn is_sqlite(&mut self, dir: &OwnedFd, name: &[u8], look: &Look) -> bool {
        let version = (look.ino, look.size, look.ctime);
        let known = self.known.get(&version).or_else(|| self.seen.get(&version)).copied();
        let answer = known.unwrap_or_else(|| is_database(dir, name));
        self.seen.insert(version, answer);
        answer
    }
}

/// Whether a file is a database, or the WAL of one, by its first bytes.
pub(crate) fn is_database(dir: &OwnedFd, name: &[u8]) -> bool {
    let head = first_bytes(dir, name, 16);
    head == DATABASE || (name.ends_with(b"-wal") && WAL.iter().any(|magic| head.starts_with(magic)))
}

/// Whether `name` is the database `base` or one of its side files.
pub(super) fn belongs_to(name: &[u8], base: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(base) else { return false };
    matches!(rest, b"" | b"-wal" | b"-shm" | b"-journal")
}

pub(super) fn is_cache(dir: &OwnedFd) -> bool {
    first_bytes(dir, b"CACHEDIR.TAG", CACHE_TAG.len()) == CACHE_TAG
}

fn first_bytes(dir: &OwnedFd, name: &[u8], count: usize) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return Vec::new() };
    let mut head = vec![0; count];
    let mut have = 0;
    while have < count {
        match rustix::io::read(file.as_fd(), &mut head[have..]) {
            Ok(0) | Err(_) => break,
            Ok(n) => have += n,
        }
    }
    head.truncate(have);
    head
}
