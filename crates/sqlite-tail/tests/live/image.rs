//! A replica in memory: what a restore would yield, to be compared page for page.

use sqlite_tail::{Sink, Tail};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

#[derive(Default)]
pub(crate) struct Image {
    pub(crate) pages: BTreeMap<u32, Vec<u8>>,
    pub(crate) db_pages: u32,
    pub(crate) frames: u64,
    pub(crate) commits: u64,
    open: bool,
    /// Fail at this many frames from now.
    pub(crate) fail_after: Option<u64>,
}

impl Sink for Image {
    fn page(&mut self, pgno: u32, page: &[u8]) -> io::Result<()> {
        if let Some(left) = &mut self.fail_after {
            if *left == 0 {
                return Err(io::Error::other("sink full"));
            }
            *left -= 1;
        }
        self.open = true;
        self.frames += 1;
        self.pages.insert(pgno, page.to_owned());
        Ok(())
    }

    fn commit(&mut self, db_pages: u32) -> io::Result<()> {
        assert!(db_pages > 0);
        self.open = false;
        self.commits += 1;
        self.db_pages = db_pages;
        self.pages.split_off(&(db_pages + 1));
        Ok(())
    }
}

impl Image {
    /// The database as it is now; the tail continues behind it.
    pub(crate) fn of(tail: &mut Tail) -> Self {
        let mut image = Self::default();
        let mut view = tail.view().unwrap();
        view.for_each_page(|pgno, page| {
            image.pages.insert(pgno, page.to_owned());
            Ok(())
        })
        .unwrap();
        image.db_pages = view.commit();
        view.accept();
        image
    }

    /// The pages as one file. Its header says "rollback journal", so that it opens without a WAL.
    pub(crate) fn write(&self, path: &Path) {
        assert!(!self.open, "never a part of a transaction");
        let size = self.pages.values().next().unwrap().len();
        let mut bytes = vec![0; size * self.db_pages as usize];
        for (pgno, page) in &self.pages {
            let at = (*pgno as usize - 1) * size;
            bytes[at..at + size].copy_from_slice(page);
        }
        bytes[18] = 1;
        bytes[19] = 1;
        std::fs::write(path, bytes).unwrap();
    }

    /// Opens the image with SQLite.
    pub(crate) fn check(&self, scratch: &Path) -> rusqlite::Connection {
        self.write(scratch);
        let connection = rusqlite::Connection::open(scratch).unwrap();
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        connection
    }

    /// Copies and backfills all, lets the tail go and compares with the file on disk, page for page.
    pub(crate) fn equals_file_after(&mut self, mut tail: Tail, path: &Path) {
        crate::until("a complete checkpoint", || {
            tail.copy(self).unwrap();
            tail.checkpoint_now(self).unwrap().checkpoint == Some(sqlite_tail::Checkpoint::Complete)
        });
        let mut viewed = BTreeMap::new();
        let mut view = tail.view().unwrap();
        view.for_each_page(|pgno, page| {
            viewed.insert(pgno, page.to_owned());
            Ok(())
        })
        .unwrap();
        drop(view);
        drop(tail);
        let file = std::fs::read(path).unwrap();
        let size = self.pages.values().next().unwrap().len();
        assert_eq!(file.len() / size, self.db_pages as usize, "pages in the file");
        for (at, page) in file.chunks(size).enumerate() {
            let pgno = at as u32 + 1;
            assert!(viewed[&pgno] == page, "page {pgno} of the view");
            assert!(self.pages.get(&pgno).is_some_and(|copy| copy == page), "page {pgno} of the image");
        }
    }
}
