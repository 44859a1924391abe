//! Merges consecutive files into one that has the same effect.
//!
//! Inputs come oldest to newest, without a gap in their transaction ids; they may overlap. Per page
//! the newest input wins, and pages beyond the final size are dropped. Every input is read to its
//! end and proven before the output is finished (P2), and pages that are already in the wanted
//! encoding are passed on without compressing them again.
//!
//! Memory: two page frames and a page per input (P7); the caller bounds the number of inputs.
//!
//! A merge repeats what is in its inputs. It does not notice a page that was cut off by a shrinking
//! database and, against the rules for writers, not written again when the database grew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};

use crate::decoder::Decoder;
use crate::encoder::{Encoder, Summary};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::page::PageEncoding;
use crate::spool::{MemorySpool, Spool};

/// What the merged file carries in the header fields that Litestream ignores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// For [`Header::node_id`].
    pub node_id: u64,
    /// For [`Header::reserved`].
    pub reserved: [u8; 20],
}

/// Merges `inputs`, oldest first, into `out`. Node id and reserved bytes of the result are zero.
pub fn merge<R: Read, W: Write>(
    inputs: Vec<R>,
    out: W,
    encoding: PageEncoding,
) -> Result<(W, Header, Summary)> {
    merge_with(inputs, out, encoding, Stamp::default(), MemorySpool::default())
}

/// As [`merge`], with the free header fields filled from `stamp` and the index waiting in `spool`.
pub fn merge_with<R: Read, W: Write>(
    inputs: Vec<R>,
    out: W,
    encoding: PageEncoding,
    stamp: Stamp,
    spool: impl Spool + Send + 'static,
) -> Result<(W, Header, Summary)> {
    let mut inputs = inputs.into_iter().map(Input::open).collect::<Result<Vec<_>>>()?;
    let header = merged_header(&inputs, stamp)?;
    let mut encoder = Encoder::with_spool(out, header, encoding, spool)?;

    // Lowest page first; among equals the newest input.
    let mut heap = BinaryHeap::with_capacity(inputs.len());
    for (at, input) in inputs.iter_mut().enumerate() {
        if let Some(pgno) = input.advance()? {
            heap.push((Reverse(pgno), at));
        }
    }
    let mut written = 0;
    while let Some((Reverse(pgno), at)) = heap.pop() {
        let input = &mut inputs[at];
        if pgno > written && pgno <= header.commit {
            input.write_to(&mut encoder, pgno)?;
            written = pgno;
        }
        if let Some(next) = input.advance()? {
            heap.push((Reverse(next), at));
        }
    }
    let (out, summary) = encoder.finish()?;
    Ok((out, header, summary))
}

fn merged_header<R: Read>(inputs: &[Input<R>], stamp: Stamp) -> Result<Header> {
    let (Some(oldest), Some(newest)) = (inputs.first(), inputs.last()) else {
        return Err(Error::Order { input: 0, rule: "nothing to merge" });
    };
    for (at, pair) in inputs.windows(2).enumerate() {
        let fail = |rule| Err(Error::Order { input: at + 1, rule });
        let (previous, next) = (pair[0].decoder.header(), pair[1].decoder.header());
        if next.page_size != previous.page_size {
            return fail("page size differs from the input before");
        }
        if next.min_txid > previous.max_txid.next() {
            return fail("transactions are missing before this input");
        }
        if next.max_txid <= previous.max_txid {
            return fail("no transaction after those of the input before");
        }
    }
    let (oldest, newest) = (oldest.decoder.header(), newest.decoder.header());
    Ok(Header {
        page_size: newest.page_size,
        commit: newest.commit,
        min_txid: oldest.min_txid,
        max_txid: newest.max_txid,
        timestamp_ms: newest.timestamp_ms,
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: stamp.node_id,
        reserved: stamp.reserved,
    })
}

/// A file being merged, and its current page.
struct Input<R> {
    decoder: Decoder<R>,
    page: Box<[u8]>,
}

impl<R: Read> Input<R> {
    fn open(reader: R) -> Result<Input<R>> {
        let decoder = Decoder::new(reader)?;
        let page = vec![0; decoder.header().page_size.bytes()].into_boxed_slice();
        Ok(Input { decoder, page })
    }

    fn advance(&mut self) -> Result<Option<u32>> {
        self.decoder.next_page(&mut self.page)
    }

    fn write_to<W: Write>(&self, encoder: &mut Encoder<W>, pgno: u32) -> Result<()> {
        match self.decoder.relayable() {
            Some((bytes, frame)) if frame.encoding() == encoder.encoding() => {
                encoder.relay(pgno, &self.page, bytes, frame.hashed_prefix)
            }
            _ => encoder.page(pgno, &self.page),
        }
    }
}
