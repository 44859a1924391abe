//! One object of a replica becomes pages: the only place that knows how objects are fetched and decoded.
//!
//! Opening fetches a small object whole and of a large one its two ends, so that it can be done ahead of its turn; [`Fetch::pages`]
//! decodes, verifies every checksum on the way and hands each page to a [`Pages`]. A page is handed over before the end of its
//! object is verified: whoever collects pages throws them away if this fails (P2). Damage is an [`Error::Object`] that names the
//! object, or an [`Error::Ltx`] whose place is its key. Whether an object is sealed its first bytes say, and nothing else is asked.

use crate::catalogue::Entry;
use crate::error::{Error, Result};
use crate::restore::budget::{Budget, Taken};
use crate::restore::run::Run;
use crate::restore::{large, sealed};
use bytes::Bytes;
use ltx::{Header, PageSize, decode_whole};
use seal::Identities;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use store::{GetResult, Progress, Store};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

/// Objects up to this size are fetched whole.
const SMALL: u64 = 4 << 20;

/// Requests that an object of this size takes.
pub(crate) fn requests(size: u64) -> u64 {
    if size <= SMALL { 1 } else { 2 + size.div_ceil(large::PART) }
}

/// Where pages go; called from several threads.
pub(crate) trait Pages: Send + Sync + 'static {
    /// Takes one page. It may be held in `run`, which is the caller's, until [`Pages::settle`].
    fn offer(&self, run: &mut Run, pgno: u32, page: &[u8]) -> io::Result<()>;
    /// Takes what is held.
    fn settle(&self, _run: &mut Run) -> io::Result<()> {
        Ok(())
    }
    /// A directory for unlinked scratch files, and the place named when a page could not be taken.
    fn scratch(&self) -> PathBuf;
}

/// Everything that fetching needs.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) store: Store,
    pub(crate) budget: Budget,
    /// Objects and parts under way.
    pub(crate) parallelism: usize,
    /// As many requests in flight.
    pub(crate) streams: Arc<Semaphore>,
    /// Whose request begins.
    pub(crate) turn: Arc<Mutex<()>>,
    pub(crate) progress: Arc<Progress>,
    /// What opens sealed objects.
    pub(crate) identities: Option<Arc<Identities>>,
}

/// An object whose turn has come, or will.
#[derive(Debug)]
pub(crate) struct Opened {
    entry: Entry,
    held: Held,
    taken: Taken,
}

impl Opened {
    /// Its key below the replica.
    #[cfg(test)]
    pub(crate) fn key(&self) -> &str {
        &self.entry.key
    }
}

/// What is at hand of it.
#[derive(Debug)]
enum Held {
    Whole(Bytes),
    Ends(large::Ends),
}

impl Fetch {
    /// Fetches what should be there before the object's turn.
    pub(crate) async fn open(&self, entry: Entry) -> Result<Opened> {
        let taken = self.room_for(&entry).await;
        self.open_in(entry, taken).await
    }

    /// Memory for what [`Fetch::open_in`] fetches.
    pub(crate) async fn room_for(&self, entry: &Entry) -> Taken {
        let bytes = if entry.size <= SMALL { entry.size } else { large::ends_of(entry.size) };
        self.budget.ahead(bytes).await
    }

    /// The same at once, and only for a large object.
    pub(crate) fn early_room_for(&self, entry: &Entry) -> Option<Taken> {
        (entry.size > SMALL).then(|| self.budget.early(large::ends_of(entry.size))).flatten()
    }

    /// As [`Fetch::open`], in memory that was set aside for it.
    pub(crate) async fn open_in(&self, entry: Entry, taken: Taken) -> Result<Opened> {
        let held = match entry.size <= SMALL {
            true => Held::Whole(self.get(&entry, None).await?),
            false => Held::Ends(large::Ends::fetch(self, &entry).await?),
        };
        Ok(Opened { entry, held, taken })
    }

    /// Decodes and verifies the objects, one after the other; every page goes to `pages`. `page_size` is that of the chain, where one is
    /// known.
    pub(crate) async fn pages<P: Pages>(
        &self,
        opened: Vec<Opened>,
        page_size: Option<PageSize>,
        pages: &Arc<P>,
    ) -> Result<()> {
        // A page that could not be written is not the object's fault.
        self.decoded(opened, page_size, pages).await.map_err(|error| match error {
            Error::Ltx { source: ltx::Error::Io(source), .. } => {
                Error::Io { path: pages.scratch(), doing: "write pages to", source }
            }
            other => other,
        })
    }

    /// Small ones that follow each other together: waking a thread takes as long as decoding one of them.
    async fn decoded<P: Pages>(
        &self,
        opened: Vec<Opened>,
        page_size: Option<PageSize>,
        pages: &Arc<P>,
    ) -> Result<()> {
        let mut whole = Vec::new();
        for Opened { entry, held, taken } in opened {
            match held {
                Held::Whole(bytes) => whole.push((entry, bytes, taken)),
                Held::Ends(ends) => {
                    self.small(std::mem::take(&mut whole), page_size, pages).await?;
                    large::decode(self, &entry, ends, page_size, pages).await?;
                    drop(taken);
                }
            }
        }
        self.small(whole, page_size, pages).await
    }

    async fn small<P: Pages>(
        &self,
        objects: Vec<(Entry, Bytes, Taken)>,
        page_size: Option<PageSize>,
        pages: &Arc<P>,
    ) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        let (pages, identities) = (pages.clone(), self.identities.clone());
        let (mut run, mut page) = (self.budget.run(), self.budget.buffer(0));
        blocking(move || {
            for (entry, bytes, _taken) in objects {
                match seal::is_sealed(&bytes) {
                    true => sealed::decode(
                        &bytes[..],
                        &entry,
                        identities.as_deref(),
                        page_size,
                        &*pages,
                        &mut run,
                    )?,
                    false => small(&entry, &bytes, page_size, &*pages, &mut run, &mut page)?,
                }
            }
            Ok(())
        })
        .await
    }

    /// A range of the object whose turn it is.
    pub(crate) async fn part(&self, entry: &Entry, range: Range<u64>) -> Result<(Bytes, Taken)> {
        let _open = self.begin().await;
        // The answer may come while memory is waited for: no more of it arrives than the connection holds. Memory is given in
        // the order of the requests, so that who needs the parts in their order never waits for one behind another.
        let memory = self.budget.part(range.end - range.start);
        let (opened, taken) = tokio::join!(self.store.get(&entry.key, Some(range)), memory);
        Ok((self.read(entry, opened).await?, taken))
    }

    /// The object or a range of it, in memory that was set aside before.
    pub(super) async fn get(&self, entry: &Entry, range: Option<Range<u64>>) -> Result<Bytes> {
        let _open = self.begin().await;
        self.read(entry, self.store.get(&entry.key, range).await).await
    }

    /// The right to one more request. They begin one at a time, and between two of them what has arrived is taken: a store that
    /// answers at once needs few connections.
    async fn begin(&self) -> (SemaphorePermit<'_>, Taken) {
        let own = self.streams.acquire().await.expect("never closed");
        let all = self.budget.stream().await;
        let _turn = self.turn.lock().await;
        tokio::task::yield_now().await;
        (own, all)
    }

    /// The body of an answer, in a buffer that is used again.
    async fn read(
        &self,
        entry: &Entry,
        opened: std::result::Result<GetResult, store::Error>,
    ) -> Result<Bytes> {
        let opened = opened.map_err(|e| missing(e, entry))?;
        let mut buffer = self.budget.buffer(opened.range.end - opened.range.start);
        opened.append_to(&mut buffer).await.map_err(|e| missing(e, entry))?;
        self.progress.add(buffer.len() as u64);
        Ok(Bytes::from_owner(buffer))
    }
}

fn small(
    entry: &Entry,
    bytes: &Bytes,
    page_size: Option<PageSize>,
    pages: &impl Pages,
    run: &mut Run,
    page: &mut Vec<u8>,
) -> Result<()> {
    let damaged = || Error::ltx(&entry.key);
    let short = || damaged()(ltx::Error::Truncated { offset: bytes.len() as u64 });
    let header = Header::from_bytes(bytes.first_chunk().ok_or_else(short)?).map_err(damaged())?;
    check(entry, &header, page_size)?;
    decode_whole(bytes, page, &mut |pgno, page| pages.offer(run, pgno, page).map_err(ltx::Error::from))
        .map_err(damaged())?;
    pages.settle(run).map_err(ltx::Error::from).map_err(damaged())
}

/// An object must say in its header what its name and the chain say.
pub(crate) fn check(entry: &Entry, header: &Header, page_size: Option<PageSize>) -> Result<()> {
    if (header.min_txid, header.max_txid) != (entry.name.min, entry.name.max) {
        let what = format!(
            "it is another object than its name says: its header has TXID {}-{}",
            header.min_txid, header.max_txid
        );
        return Err(damaged(entry, what));
    }
    match page_size.filter(|size| *size != header.page_size) {
        None => Ok(()),
        Some(size) => {
            let what =
                format!("it has pages of {} bytes in a chain of {}", header.page_size.get(), size.get());
            Err(damaged(entry, what))
        }
    }
}

/// Damage of one object.
pub(crate) fn damaged(entry: &Entry, what: String) -> Error {
    Error::Object {
        key: entry.key.clone(),
        what,
        hint: "restore the newest provable point with --latest-valid, or choose one of `restore list`".into(),
    }
}

/// A listed object that is not there any more was deleted under us: say so.
pub(crate) fn missing(error: store::Error, entry: &Entry) -> Error {
    match error {
        store::Error::NotFound { .. } => damaged(entry, GONE.into()),
        store::Error::Corrupt { what, .. } => damaged(entry, what),
        other => other.into(),
    }
}

/// What an object is that was listed and cannot be read: retention may have removed it meanwhile.
pub(crate) const GONE: &str = "it was listed and is gone";

/// Runs CPU or disk work off the runtime's thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}

#[cfg(test)]
#[path = "object/tests.rs"]
mod tests;
