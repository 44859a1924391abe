//! A warm standby: a restored database that is kept up with its replica while other processes read it.
//!
//! The copy is a rollback-journal database (bytes 18 and 19 of its header say so; nothing else differs from the source), because
//! that mode is one a second program can write correctly by the documented rules: under SQLite's exclusive lock, with the overwritten
//! pages in a journal that SQLite itself would roll back. So a reader sees one state or the next and never a mixture, whatever is
//! killed when (P2). A step applies what the replica gained; where retention has removed the files in between, the newest chain is
//! compared with the copy page by page, and only what differs is written.

mod journal;
mod standby;

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Error, Result};
use crate::restore::ahead::Ahead;
use crate::restore::execute::{RestoreOptions, assemble};
use crate::restore::object::{Pages, blocking};
use crate::restore::plan::RestorePlan;
use crate::restore::proof::Proof;
use crate::restore::run::Run;
use crate::restore::target::parent;
use ltx::{Header, Txid};
use standby::Standby;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Progress, Store};

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// The copy is this state now.
    pub txid: String,
    /// When that was committed, RFC 3339.
    pub timestamp: String,
    /// Pages that were written.
    pub pages: u64,
    /// True if files in between were gone and a whole chain was compared.
    pub bridged: bool,
}

/// The standby and its replica.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    options: RestoreOptions,
    standby: Option<Standby>,
    path: PathBuf,
    at: Txid,
}

impl Follower {
    /// Takes over a database that was just restored to `at`, or was followed to `at` before.
    pub fn new(store: &Store, path: &Path, at: Txid, options: RestoreOptions) -> Result<Follower> {
        let standby = Standby::open(path)?;
        standby.remember(at)?;
        Ok(Follower { store: store.clone(), options, standby: Some(standby), path: path.to_owned(), at })
    }

    /// The TXID a followed database stands at; `None` if it was never followed.
    pub fn resume_at(path: &Path) -> Result<Option<Txid>> {
        Standby::remembered(path)
    }

    /// The state of the copy.
    pub fn at(&self) -> Txid {
        self.at
    }

    /// Applies what is new; `None` if nothing is.
    pub async fn step(&mut self) -> Result<Option<Applied>> {
        let catalogue = Catalogue::load(&self.store).await?;
        let Some(newest) = catalogue.newest() else {
            return Err(Error::Nothing {
                what: "the replica holds no files any more".into(),
                hint: "the copy stays as it is".into(),
            });
        };
        if newest == self.at {
            return Ok(None);
        }
        let (plan, bridged) = match onward(&catalogue, self.at) {
            Some(files) => (RestorePlan { files }, false),
            None => (RestorePlan::new(&catalogue, None)?, true),
        };
        let end = plan.newest();
        let fetch = self.options.fetch(&self.store, Arc::new(Progress::default()));
        let ahead = Ahead::begin(&fetch, &plan);
        let header = fetch.header(&plan).await?;
        let pages = self.apply(ahead, &plan, &header, bridged).await?;
        self.at = end.name.max;
        Ok(Some(Applied {
            txid: self.at.to_string(),
            timestamp: clock::format_unix_ms(header.timestamp_ms),
            pages,
            bridged,
        }))
    }

    async fn apply(
        &mut self,
        ahead: Ahead,
        plan: &RestorePlan,
        header: &Header,
        bridged: bool,
    ) -> Result<u64> {
        let scratch = Arc::new(Scratch::new(&self.path, header)?);
        assemble(ahead, header, &scratch).await?;
        if bridged {
            crate::restore::execute::conclude(header, &scratch.proof, plan.newest())?;
        }
        let scratch = Arc::try_unwrap(scratch).expect("all tasks that held the pages have ended");
        let mut standby = self.standby.take().expect("put back after every step");
        let (header, end) = (*header, plan.newest().name.max);
        let (standby, written) = blocking(move || {
            let written = standby.apply(&scratch, &header);
            if written.is_ok() {
                standby.remember(end)?;
            }
            Ok((standby, written))
        })
        .await?;
        self.standby = Some(standby);
        written
    }
}

/// The files that lead on from `at`, without a gap, to the newest; `None` if there is one.
fn onward(catalogue: &Catalogue, at: Txid) -> Option<Vec<Entry>> {
    let newest = catalogue.newest()?;
    let (mut reached, mut files) = (at, Vec::new());
    while reached < newest {
        let next = catalogue
            .entries
            .iter()
            .filter(|e| {
                e.name.min.get() <= reached.get() + 1 && e.name.max > reached && e.name.min > Txid::FIRST
            })
            .max_by_key(|e| (e.name.max, e.name.min))?;
        reached = next.name.max;
        files.push(next.clone());
    }
    Some(files)
}

/// New pages, in an unlinked sparse file: newest version of each.
#[derive(Debug)]
pub(super) struct Scratch {
    file: File,
    page_size: usize,
    proof: Proof,
    dir: PathBuf,
}

impl Scratch {
    fn new(path: &Path, header: &Header) -> Result<Scratch> {
        let dir = parent(path).to_owned();
        let file = tempfile::tempfile_in(&dir).map_err(Error::io(&dir, "gather pages in"))?;
        Ok(Scratch { file, page_size: header.page_size.bytes(), proof: Proof::new(header.commit), dir })
    }

    /// Calls `each` with every page in ascending order.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let mut page = vec![0; self.page_size];
        for pgno in self.proof.pages() {
            let offset = u64::from(pgno - 1) * self.page_size as u64;
            self.file
                .read_exact_at(&mut page, offset)
                .map_err(Error::io(&self.dir, "read gathered pages in"))?;
            each(pgno, &page)?;
        }
        Ok(())
    }
}

impl Pages for Scratch {
    fn offer(&self, _: &mut Run, pgno: u32, page: &[u8]) -> io::Result<()> {
        if self.proof.accept(pgno, page).is_some() {
            self.file.write_all_at(page, u64::from(pgno - 1) * self.page_size as u64)?;
        }
        Ok(())
    }
    fn scratch(&self) -> PathBuf {
        self.dir.clone()
    }
}
