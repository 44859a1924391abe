//! Sealed objects on their way: opened with the identity, their pages handed on, and the header inside where a restore needs it.
//!
//! A large object arrives in parts, several requests at a time, and is decrypted and unpacked in one stream behind them: age's chunks
//! and zstd's frames have an order, and one core does several hundred MB/s. Memory is what the budget of parts gives (P7).

use crate::catalogue::Entry;
use crate::error::{Error, Result};
use crate::restore::budget::Taken;
use crate::restore::head::{Head, read_head};
use crate::restore::large::PART;
use crate::restore::object::{Fetch, Pages, blocking, check, damaged};
use crate::restore::plan::RestorePlan;
use crate::restore::run::Run;
use crate::sealed::{self, agrees, locked, opened_header};
use crate::upkeep::CLAIM_SIZE;
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt};
use ltx::{Extension, Header, PageSize};
use seal::Identities;
use std::io::{self, Read};
use tokio::sync::mpsc;

/// Bytes of an object that hold the age header and the first frame for any reasonable number of recipients.
const BEGINNING: u64 = 256 << 10;

/// Decodes an object that is at hand.
pub(super) fn decode(
    input: impl Read,
    entry: &Entry,
    identities: Option<&Identities>,
    page_size: Option<PageSize>,
    pages: &impl Pages,
    run: &mut Run,
) -> Result<()> {
    let check = |header: &Header| check(entry, header, page_size);
    sealed::decode(input, &entry.key, identities, check, |pgno, page| pages.offer(run, pgno, page))?;
    pages.settle(run).map_err(ltx::Error::from).map_err(Error::ltx(&entry.key))
}

/// Fetches and decodes a large object.
pub(super) async fn stream<P: Pages>(
    fetch: &Fetch,
    entry: &Entry,
    page_size: Option<PageSize>,
    pages: &std::sync::Arc<P>,
) -> Result<()> {
    if fetch.identities.is_none() {
        return Err(locked(&entry.key));
    }
    let (send, receive) = mpsc::channel(1);
    let reading = {
        let (entry, pages, identities) = (entry.clone(), pages.clone(), fetch.identities.clone());
        let input = Parts { receive, part: Bytes::new(), taken: None };
        let mut run = fetch.budget.run();
        blocking(move || decode(input, &entry, identities.as_deref(), page_size, &*pages, &mut run))
    };
    let fetching = async {
        let ranges = (0..entry.size).step_by(PART as usize).map(|at| at..(at + PART).min(entry.size));
        let mut parts =
            futures::stream::iter(ranges).map(|range| fetch.part(entry, range)).buffered(fetch.parallelism);
        while let Some(part) = parts.try_next().await? {
            // Whoever reads says why he went.
            if send.send(part).await.is_err() {
                break;
            }
        }
        drop(send);
        Ok(())
    };
    // A stream that was cut short by the store reads like a truncated object: the store's own error says more.
    let (fetched, read): (Result<()>, Result<()>) = tokio::join!(fetching, reading);
    fetched.and(read)
}

/// Parts in their order as a stream; each is paid back to the budget when the next one begins.
struct Parts {
    receive: mpsc::Receiver<(Bytes, Taken)>,
    part: Bytes,
    taken: Option<Taken>,
}

impl Read for Parts {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            self.taken = None;
            let Some((part, taken)) = self.receive.blocking_recv() else { return Ok(0) };
            (self.part, self.taken) = (part, Some(taken));
        }
        let n = into.len().min(self.part.len());
        self.part.copy_to_slice(&mut into[..n]);
        Ok(n)
    }
}

impl Fetch {
    /// The header of the state that a plan ends with, rolling checksum and all. A claim of a sealed replica does not tell that; its state is
    /// that of the file below.
    pub(crate) async fn header(&self, plan: &RestorePlan) -> Result<Header> {
        let mut files = plan.files.iter().rev();
        let newest = files.next().expect("a plan has files");
        let header = self.header_of(newest).await?;
        let ours = Extension::from_reserved(&header.reserved).is_some();
        if header.node_id != 0 || !ours || newest.size != CLAIM_SIZE {
            return Ok(header);
        }
        for file in files {
            let below = self.header_of(file).await?;
            if below.node_id != 0 && below.commit == header.commit {
                return Ok(Header { node_id: below.node_id, ..header });
            }
            if file.size != CLAIM_SIZE {
                break;
            }
        }
        Ok(header)
    }

    /// The header of one object; of a sealed one the header inside.
    pub(crate) async fn header_of(&self, entry: &Entry) -> Result<Header> {
        let Head { header, sealed } = read_head(&self.store, entry).await?;
        if !sealed {
            return Ok(header);
        }
        let Some(identities) = self.identities.clone() else { return Err(locked(&entry.key)) };
        let (bytes, _taken) = self.part(entry, 0..entry.size.min(BEGINNING)).await?;
        let key = entry.key.clone();
        let inside = blocking(move || opened_header(&bytes, &key, Some(&identities))).await?;
        if !agrees(&header, &inside) {
            return Err(damaged(entry, "its clear part is not that of the file inside".into()));
        }
        Ok(inside)
    }
}

/// Refuses to begin what would need an identity that is missing or wrong: the newest object with pages is opened, as far as its
/// first frame. Nothing was changed yet.
pub(crate) async fn check_identity(fetch: &Fetch, plan: &RestorePlan) -> Result<()> {
    match plan.files.iter().rev().find(|file| file.size != CLAIM_SIZE) {
        Some(file) => fetch.header_of(file).await.map(drop),
        None => Ok(()),
    }
}
