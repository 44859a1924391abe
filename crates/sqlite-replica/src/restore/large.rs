//! A large file, decoded in parts: ranged GETs along the page index, the checksums of the parts combined in order.
//!
//! Its header and, as far as a guess goes, its index are fetched ahead of its turn ([`Ends`]).

use crate::catalogue::Entry;
use crate::error::{Error, Result};
use crate::restore::object::{Fetch, Pages, blocking, check, damaged};
use crate::restore::sealed;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use ltx::{
    HEADER_SIZE, Header, IndexDigest, IndexReader, IndexTail, PageSize, Piece, TRAILER_SIZE, decode_run,
    parse_index_tail, verify_parts,
};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Compressed bytes of one part.
pub(super) const PART: u64 = 2 << 20;

/// Parts that are asked for at a time. An answer that waits for memory holds what its connection has read.
const PARTS: usize = 24;

/// First guess of how much of the end holds the index: it takes some nine bytes for a page, which is seldom below 1 KiB.
fn tail_of(size: u64) -> u64 {
    (size / 100).clamp(64 << 10, 1 << 20)
}

/// Bytes that [`Ends::fetch`] holds for an object of this size.
pub(super) fn ends_of(size: u64) -> u64 {
    HEADER_SIZE as u64 + tail_of(size)
}

/// An index larger than this goes to an unlinked file beside the output instead of into memory (P7).
const INDEX_IN_MEMORY: u64 = 4 << 20;

/// The two ends of a large object.
#[derive(Debug)]
pub(super) struct Ends {
    head: Bytes,
    /// Nothing of a sealed object, whose end says nothing.
    tail: Bytes,
}

impl Ends {
    /// Two requests, one for a sealed object.
    pub(super) async fn fetch(fetch: &Fetch, file: &Entry) -> Result<Ends> {
        let head = fetch.get(file, Some(0..HEADER_SIZE as u64)).await?;
        let tail = match seal::is_sealed(&head) {
            true => Bytes::new(),
            false => fetch.get(file, Some(file.size.saturating_sub(tail_of(file.size))..file.size)).await?,
        };
        Ok(Ends { head, tail })
    }
}

/// Fetches the rest, verifies and decodes `file`.
pub(super) async fn decode<P: Pages>(
    fetch: &Fetch,
    file: &Entry,
    ends: Ends,
    page_size: Option<PageSize>,
    pages: &Arc<P>,
) -> Result<()> {
    let Ends { head, tail } = ends;
    if seal::is_sealed(&head) {
        return sealed::stream(fetch, file, page_size, pages).await;
    }
    let head: [u8; HEADER_SIZE] = head[..].try_into().map_err(|_| short(file))?;
    let header = Header::from_bytes(&head).map_err(Error::ltx(&file.key))?;
    check(file, &header, page_size)?;
    let (index, offset, trailer) = find_index(fetch, file, tail, &pages.scratch()).await?;
    let (parts, index) = parts(file, &header, index, offset)?;

    let pieces: Vec<Piece> = futures::stream::iter(parts)
        .map(|range| {
            let (pages, key, page_size) = (pages.clone(), file.key.clone(), header.page_size);
            async move {
                let (bytes, taken) = fetch.part(file, range.clone()).await?;
                let (decoder, mut run) = (fetch.budget.decoder().await, fetch.budget.run());
                blocking(move || {
                    let _held = (taken, decoder);
                    let mut write =
                        |pgno: u32, page: &[u8]| pages.offer(&mut run, pgno, page).map_err(ltx::Error::from);
                    decode_run(&bytes, page_size, range.start, &mut write)
                        .and_then(|piece| pages.settle(&mut run).map(|()| piece).map_err(ltx::Error::from))
                        .map_err(Error::ltx(&key))
                })
                .await
            }
        })
        .buffered(fetch.parallelism.min(PARTS))
        .try_collect()
        .await?;
    verify_parts(&head, pieces.into_iter(), index, &trailer).map_err(Error::ltx(&file.key))?;
    Ok(())
}

/// The page index with terminator and length, its offset, and the trailer; more requests for what the end does not hold.
async fn find_index(
    fetch: &Fetch,
    file: &Entry,
    mut tail: Bytes,
    scratch: &Path,
) -> Result<(Box<dyn Read>, u64, [u8; TRAILER_SIZE])> {
    let mut from = file.size.saturating_sub(tail.len() as u64);
    loop {
        if tail.len() < TRAILER_SIZE {
            return Err(short(file));
        }
        let trailer = tail[tail.len() - TRAILER_SIZE..].try_into().map_err(|_| short(file))?;
        match parse_index_tail(&tail, file.size).map_err(Error::ltx(&file.key))? {
            IndexTail::Complete { index, offset, .. } => {
                return Ok((Box::new(Cursor::new(tail.slice_ref(index))), offset, trailer));
            }
            IndexTail::NeedFrom(earlier) if earlier >= from => return Err(short(file)),
            IndexTail::NeedFrom(earlier) if file.size - earlier <= INDEX_IN_MEMORY => {
                let (longer, _taken) = fetch.part(file, earlier..file.size).await?;
                (tail, from) = (longer, earlier);
            }
            IndexTail::NeedFrom(earlier) => {
                // `earlier` is where the end-of-pages mark stands: six zero bytes before the index.
                let offset = earlier + END_OF_PAGES;
                let spooled = spool(fetch, file, earlier..file.size - TRAILER_SIZE as u64, scratch).await?;
                return Ok((Box::new(spooled), offset, trailer));
            }
        }
    }
}

/// Bytes of the mark between the last page and the index.
const END_OF_PAGES: u64 = 6;

/// A large index, in an unlinked file; the mark before it is checked and skipped.
async fn spool(fetch: &Fetch, file: &Entry, range: Range<u64>, scratch: &Path) -> Result<BufReader<File>> {
    let failed = || Error::io(scratch, "spool a page index in");
    let mut spool = tempfile::tempfile_in(scratch).map_err(failed())?;
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + INDEX_IN_MEMORY);
        let (bytes, _taken) = fetch.part(file, at..end).await?;
        spool.write_all(&bytes).map_err(failed())?;
        at = end;
    }
    let mut mark = [0; END_OF_PAGES as usize];
    spool.rewind().and_then(|()| spool.read_exact(&mut mark)).map_err(failed())?;
    if mark != [0; END_OF_PAGES as usize] {
        return Err(short(file));
    }
    Ok(BufReader::new(spool))
}

/// Ranges of whole page frames of about [`PART`] bytes that cover all of them, and the digest of the index they came from.
fn parts(
    file: &Entry,
    header: &Header,
    index: Box<dyn Read>,
    offset: u64,
) -> Result<(Vec<Range<u64>>, IndexDigest)> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut reader = IndexReader::new(index, header, offset);
    for entry in &mut reader {
        let entry = entry.map_err(Error::ltx(&file.key))?;
        match parts.last_mut().filter(|p| entry.offset + entry.size - p.start <= PART) {
            Some(part) => part.end = entry.offset + entry.size,
            None => parts.push(entry.offset..entry.offset + entry.size),
        }
    }
    let digest = reader.digest().ok_or_else(|| short(file))?;
    Ok((parts, digest))
}

fn short(file: &Entry) -> Error {
    damaged(file, "it is shorter than its index says".into())
}
