//! The order in which pages may appear in a file.
//!
//! Strictly ascending, within the database, never the lock page; and a snapshot has no holes.
//! Writing, reading, indexing and proving in parts all ask this one judge.

use crate::header::Header;
use crate::page_size::PageSize;

/// Watches page numbers go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequence {
    page_size: PageSize,
    commit: u32,
    /// Every page must be there.
    complete: bool,
    last: u32,
    pages: u64,
}

impl Sequence {
    pub(crate) fn new(header: &Header) -> Sequence {
        Sequence {
            page_size: header.page_size,
            commit: header.commit,
            complete: header.is_snapshot(),
            last: 0,
            pages: 0,
        }
    }

    /// The next page, or the rule it breaks.
    pub(crate) fn accept(&mut self, pgno: u32) -> Result<(), &'static str> {
        self.accept_run(pgno, pgno, 1)
    }

    /// Pages from `first` to `last`, known to ascend.
    pub(crate) fn accept_run(&mut self, first: u32, last: u32, pages: u64) -> Result<(), &'static str> {
        if first == 0 {
            return Err("page number 0");
        }
        if last > self.commit {
            return Err("page number beyond the end of the database");
        }
        let lock = self.page_size.lock_page();
        if first == lock || last == lock {
            return Err("the lock page holds no data");
        }
        if first <= self.last {
            return Err("page numbers do not ascend");
        }
        if self.complete && first != self.following() {
            return Err("a page is missing in a snapshot");
        }
        self.last = last;
        self.pages += pages;
        Ok(())
    }

    /// The end: a snapshot must have reached the end of the database without a hole.
    pub(crate) fn finish(&self) -> Result<(), &'static str> {
        if self.complete && self.pages != self.page_size.pages_of_image(self.commit) {
            return Err("a page is missing in a snapshot");
        }
        Ok(())
    }

    /// Pages seen.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// The page that follows the last one in a database. Never overflows: `last` is below the next
    /// page accepted.
    fn following(&self) -> u32 {
        let next = self.last.saturating_add(1);
        if next == self.page_size.lock_page() { next.saturating_add(1) } else { next }
    }
}
