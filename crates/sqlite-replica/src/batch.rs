//! Pages committed since the last staged file, newest version of each (P2: complete at a commit only).
//!
//! Small batches live in memory; beyond a bound they move to an unlinked sparse file with every page at its own offset, so
//! that memory stays at one bit per page (P7) and the pages come back in ascending order for the encoder.
//! A batch is lost with the process: the next start proves its position or makes a page diff.

use crate::error::{Error, Result};
use sqlite_tail::Sink;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of pages kept in memory before a batch spills, if nobody says otherwise.
const IN_MEMORY: usize = 4 << 20;

/// Newest versions of changed pages.
#[derive(Debug)]
pub(crate) struct Batch {
    dir: PathBuf,
    page_size: usize,
    in_memory: usize,
    memory: BTreeMap<u32, Box<[u8]>>,
    spilled: Option<Spill>,
    /// Database size in pages after the last commit taken in; 0 = no commit yet.
    commit: u32,
}

#[derive(Debug)]
struct Spill {
    file: File,
    present: Vec<u64>,
    pages: u64,
}

impl Batch {
    /// An empty batch whose overflow goes to an unlinked file in `dir`.
    pub(crate) fn new(dir: &Path, page_size: u32) -> Batch {
        Batch {
            dir: dir.to_owned(),
            page_size: page_size as usize,
            in_memory: IN_MEMORY,
            memory: BTreeMap::new(),
            spilled: None,
            commit: 0,
        }
    }

    /// From now on so many bytes of pages are kept in memory before they spill (P7).
    pub(crate) fn bound(&mut self, in_memory: usize) {
        self.in_memory = in_memory;
    }

    /// Whether a page is in.
    pub(crate) fn contains(&self, pgno: u32) -> bool {
        match &self.spilled {
            None => self.memory.contains_key(&pgno),
            Some(spill) => {
                spill.present.get((pgno / 64) as usize).is_some_and(|word| word >> (pgno % 64) & 1 == 1)
            }
        }
    }

    /// Database size in pages after the newest commit, if any commit is in.
    pub(crate) fn db_pages(&self) -> Option<u32> {
        (self.commit > 0).then_some(self.commit)
    }

    /// Number of distinct pages.
    pub(crate) fn pages(&self) -> u64 {
        self.spilled.as_ref().map_or(self.memory.len() as u64, |s| s.pages)
    }

    /// True if no commit is in.
    pub(crate) fn is_empty(&self) -> bool {
        self.commit == 0
    }

    /// Forgets everything and frees the overflow.
    pub(crate) fn clear(&mut self) {
        self.memory.clear();
        self.spilled = None;
        self.commit = 0;
    }

    /// Calls `each` with every page in ascending order.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let Some(spill) = &self.spilled else {
            return self.memory.iter().try_for_each(|(pgno, page)| each(*pgno, page));
        };
        let mut page = vec![0; self.page_size];
        for pgno in spill.numbers() {
            spill
                .file
                .read_exact_at(&mut page, self.offset(pgno))
                .map_err(Error::io(&self.dir, "read the spilled batch"))?;
            each(pgno, &page)?;
        }
        Ok(())
    }

    fn offset(&self, pgno: u32) -> u64 {
        u64::from(pgno - 1) * self.page_size as u64
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut spill = Spill { file: tempfile::tempfile_in(&self.dir)?, present: Vec::new(), pages: 0 };
        for (pgno, page) in &self.memory {
            spill.file.write_all_at(page, self.offset(*pgno))?;
            spill.mark(*pgno);
        }
        self.memory.clear();
        self.spilled = Some(spill);
        Ok(())
    }
}

impl Sink for Batch {
    fn page(&mut self, pgno: u32, page: &[u8]) -> io::Result<()> {
        if self.spilled.is_none() && self.memory.len() * self.page_size >= self.in_memory {
            self.spill()?;
        }
        let offset = self.offset(pgno);
        match (&mut self.spilled, self.memory.get_mut(&pgno)) {
            (Some(spill), _) => {
                spill.file.write_all_at(page, offset)?;
                spill.mark(pgno);
            }
            (None, Some(slot)) => slot.copy_from_slice(page),
            (None, None) => {
                self.memory.insert(pgno, page.into());
            }
        }
        Ok(())
    }

    fn commit(&mut self, db_pages: u32) -> io::Result<()> {
        self.commit = db_pages;
        Ok(())
    }
}

impl Spill {
    fn mark(&mut self, pgno: u32) {
        let (word, bit) = ((pgno / 64) as usize, pgno % 64);
        if word >= self.present.len() {
            self.present.resize(word + 1, 0);
        }
        self.pages += u64::from(self.present[word] >> bit & 1 == 0);
        self.present[word] |= 1 << bit;
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.present.iter().enumerate().flat_map(|(i, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i as u32 * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::rng::Rng;

    /// Memory and spilled batches give the same pages in the same order, newest version only.
    #[test]
    fn p7_a_spilled_batch_equals_one_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (mut batch, mut model) = (Batch::new(dir.path(), 512), BTreeMap::new());
        let mut rng = Rng::new(3);
        for round in 0..20_000u32 {
            let pgno = 1 + rng.below(15_000) as u32;
            let page = vec![round as u8; 512];
            batch.page(pgno, &page).unwrap();
            model.insert(pgno, page);
        }
        Sink::commit(&mut batch, 15_000).unwrap();
        assert!(batch.spilled.is_some());
        let mut got = Vec::new();
        let keep = |n, p: &[u8]| {
            got.push((n, p.to_vec()));
            Ok(())
        };
        batch.for_each(keep).unwrap();
        assert_eq!(got, model.into_iter().collect::<Vec<_>>());
        assert_eq!(batch.pages(), got.len() as u64);
        batch.clear();
        assert!(batch.is_empty() && batch.pages() == 0);
    }
}
