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
use crate::sealed::header_of;
use bytes::Bytes;
use ltx::{Decoder, HEADER_SIZE, Header, PageSize};
use seal::Identities;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use store::{Progress, Store};
use tokio::sync::Semaphore;

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

    /// As [`Fetch::open`], in memory that was set aside for it.
    pub(crate) async fn open_in(&self, entry: Entry, taken: Taken) -> Result<Opened> {
        let held = match entry.size <= SMALL {
            true => Held::Whole(self.get(&entry, None).await?),
            false => Held::Ends(large::Ends::fetch(self, &entry).await?),
        };
        Ok(Opened { entry, held, taken })
    }

    /// Decodes and verifies the object; every page goes to `pages`. `page_size` is that of the chain, where one is known.
    pub(crate) async fn pages<P: Pages>(
        &self,
        opened: Opened,
        page_size: Option<PageSize>,
        pages: &Arc<P>,
    ) -> Result<()> {
        let Opened { entry, held, taken } = opened;
        let done = match held {
            Held::Ends(ends) => {
                let done = large::decode(self, &entry, ends, page_size, pages).await;
                drop(taken);
                done
            }
            Held::Whole(bytes) => {
                let (entry, pages, identities) = (entry.clone(), pages.clone(), self.identities.clone());
                blocking(move || {
                    let _taken = taken;
                    match seal::is_sealed(&bytes) {
                        true => sealed::decode(&bytes[..], &entry, identities.as_deref(), page_size, &*pages),
                        false => small(&entry, &bytes, page_size, &*pages),
                    }
                })
                .await
            }
        };
        // A page that could not be written is not the object's fault.
        done.map_err(|error| match error {
            Error::Ltx { source: ltx::Error::Io(source), .. } => {
                Error::Io { path: pages.scratch(), doing: "write pages to", source }
            }
            other => other,
        })
    }

    /// A range of the object whose turn it is.
    pub(crate) async fn part(&self, entry: &Entry, range: Range<u64>) -> Result<(Bytes, Taken)> {
        let taken = self.budget.part(range.end - range.start).await;
        Ok((self.get(entry, Some(range)).await?, taken))
    }

    /// The object or a range of it, in memory that was set aside before.
    pub(super) async fn get(&self, entry: &Entry, range: Option<Range<u64>>) -> Result<Bytes> {
        let _own = self.streams.acquire().await.expect("never closed");
        let _stream = self.budget.stream().await;
        let bytes = self.store.get_bytes(&entry.key, range).await.map_err(|e| missing(e, entry))?;
        self.progress.add(bytes.len() as u64);
        Ok(bytes)
    }
}

fn small(entry: &Entry, bytes: &Bytes, page_size: Option<PageSize>, pages: &impl Pages) -> Result<()> {
    let damaged = || Error::ltx(&entry.key);
    let mut decoder = Decoder::new(&bytes[..]).map_err(damaged())?;
    check(entry, decoder.header(), page_size)?;
    let (mut page, mut run) = (vec![0; decoder.header().page_size.bytes()], Run::default());
    while let Some(pgno) = decoder.next_page(&mut page).map_err(damaged())? {
        pages.offer(&mut run, pgno, &page).map_err(ltx::Error::from).map_err(damaged())?;
    }
    pages.settle(&mut run).map_err(ltx::Error::from).map_err(damaged())
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

/// The beginning of an object, as far as everyone may read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Of a sealed object without its rolling checksum.
    pub(crate) header: Header,
    pub(crate) sealed: bool,
}

/// The header of an object: one ranged GET. Of a sealed one it is the clear part, whose rolling checksum is 0.
pub async fn read_header(store: &Store, entry: &Entry) -> Result<Header> {
    Ok(read_head(store, entry).await?.header)
}

/// As [`read_header`], and whether it is sealed.
pub(crate) async fn read_head(store: &Store, entry: &Entry) -> Result<Head> {
    let short = |size: u64| damaged(entry, format!("{size} bytes are too few for a header"));
    // Not asked for what is not there: a store answers a range of an empty object with an error of its own.
    if entry.size < HEADER_SIZE as u64 {
        return Err(short(entry.size));
    }
    let range = 0..entry.size.min(seal::CLEAR_BYTES as u64);
    let bytes = store.get_bytes(&entry.key, Some(range)).await.map_err(|e| missing(e, entry))?;
    if seal::is_sealed(&bytes) {
        return Ok(Head { header: header_of(&bytes, &entry.key)?, sealed: true });
    }
    let bytes = bytes.first_chunk::<HEADER_SIZE>().ok_or_else(|| short(bytes.len() as u64))?;
    Ok(Head { header: Header::from_bytes(bytes).map_err(Error::ltx(&entry.key))?.header, sealed: false })
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
