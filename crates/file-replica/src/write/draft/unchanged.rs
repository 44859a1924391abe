//! Whether a thing is what it was, as far as `stat` can tell: since the last snapshot, and since it was read a moment ago.

use super::Drafter;
use crate::entry::{Entry, Kind};
use crate::read;
use crate::scan::Look;
use crate::state::Print;
use rustix::fs::FileType;

impl Drafter {
    /// Whether anything that was read looks different now.
    pub(super) fn have_moved(&self, entries: &[Entry], prints: &[Print], read: &[(u32, u64)]) -> bool {
        read.iter().any(|(at, size)| {
            let (entry, print) = (&entries[*at as usize], &prints[*at as usize]);
            let then = |now: &Look| {
                now.kind == FileType::RegularFile
                    && (now.ino, now.size, now.mtime, now.ctime)
                        == (print.ino, *size, entry.mtime, print.ctime)
            };
            !read::look_again(&self.place(&entry.path)).is_some_and(|now| then(&now))
        })
    }
}

/// Whether a file is what it was when it was last read, as far as `stat` can tell for sure.
pub(super) fn is_unchanged(look: &Look, entry: &Entry, print: &Print) -> bool {
    let same = print.ino == look.ino && print.ctime == look.ctime && entry.mtime == look.mtime;
    match &entry.kind {
        Kind::File(content) => {
            look.kind == FileType::RegularFile && same && !print.suspect && content.size == look.size
        }
        Kind::Dir => look.kind == FileType::Directory,
        Kind::Symlink { .. } => look.kind == FileType::Symlink && same,
        Kind::Fifo => look.kind == FileType::Fifo && same,
    }
}
