//! Files to test with, and the slow but obvious way to read one.

use std::collections::BTreeMap;

use ltx::{Decoder, Encoder, Header, IndexReader, IndexTail, PageEncoding, PageSize, Result, Txid};
use proptest::prelude::*;

pub(crate) type Pages = BTreeMap<u32, Vec<u8>>;

pub(crate) const ENCODINGS: [PageEncoding; 2] = [PageEncoding::Frame, PageEncoding::Block];

pub(crate) fn header(page_size: u32, commit: u32, min: u64, max: u64) -> Header {
    Header {
        page_size: PageSize::new(page_size).unwrap(),
        commit,
        min_txid: Txid::new(min).unwrap(),
        max_txid: Txid::new(max).unwrap(),
        timestamp_ms: 1_700_000_000_000 + max as i64,
        wal_offset: 32,
        wal_size: 100,
        wal_salt1: 1,
        wal_salt2: 2,
        node_id: 3,
        reserved: [4; 20],
    }
}

/// A page of repetitive or of incompressible content.
pub(crate) fn page(size: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    match seed % 4 {
        0 => vec![next(); size],
        1 => (0..size).map(|_| next()).collect(),
        2 => (0..size).map(|i| if i % 64 < 40 { b'x' } else { next() }).collect(),
        _ => (0..size).map(|i| if i < size / 2 { next() } else { 0 }).collect(),
    }
}

pub(crate) fn encode(header: Header, pages: &Pages, encoding: PageEncoding) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), header, encoding).unwrap();
    for (pgno, page) in pages {
        encoder.page(*pgno, page).unwrap();
    }
    let (bytes, summary) = encoder.finish().unwrap();
    assert_eq!(summary.size, bytes.len() as u64);
    assert_eq!(summary.pages, pages.len() as u64);
    assert_eq!(summary.file_checksum.to_be_bytes(), bytes[bytes.len() - 8..]);
    bytes
}

/// All pages of a proven file.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, Pages)> {
    let mut decoder = Decoder::new(bytes)?;
    let header = decoder.header().header;
    let mut page = vec![0; header.page_size.bytes()];
    let mut pages = Pages::new();
    while let Some(pgno) = decoder.next_page(&mut page)? {
        pages.insert(pgno, page.clone());
    }
    let summary = decoder.summary().expect("proven after the last page");
    assert_eq!((summary.size, summary.pages), (bytes.len() as u64, pages.len() as u64));
    Ok((header, pages))
}

/// The same in memory as a whole.
pub(crate) fn decode_whole(bytes: &[u8]) -> Result<Pages> {
    let mut pages = Pages::new();
    let summary = ltx::decode_whole(bytes, &mut Vec::new(), &mut |pgno, page| {
        pages.insert(pgno, page.to_vec());
        Ok(())
    })?;
    assert_eq!((summary.size, summary.pages), (bytes.len() as u64, pages.len() as u64));
    Ok(pages)
}

/// The same through index, runs of about `run` bytes (last run first), and the joined proof.
pub(crate) fn decode_in_runs(bytes: &[u8], run: u64) -> Result<Pages> {
    let truncated = ltx::Error::Truncated { offset: bytes.len() as u64 };
    let Some(head) = bytes.first_chunk::<100>() else { return Err(truncated) };
    let header = Header::from_bytes(head)?.header;
    let (index, end, trailer) = match ltx::parse_index_tail(bytes, bytes.len() as u64)? {
        IndexTail::Complete { index, offset, trailer } => (index, offset, trailer),
        IndexTail::NeedFrom(offset) => panic!("the whole file was given, not from {offset}"),
    };
    let mut cuts = vec![100];
    let mut entries = IndexReader::new(index, &header, end);
    for entry in entries.by_ref() {
        let entry = entry?;
        if entry.offset - cuts[cuts.len() - 1] >= run {
            cuts.push(entry.offset);
        }
    }
    cuts.push(end - 6);
    let mut pages = Pages::new();
    let mut pieces = Vec::new();
    for cut in cuts.windows(2).rev() {
        let part = &bytes[cut[0] as usize..cut[1] as usize];
        pieces.push(ltx::decode_run(part, header.page_size, cut[0], &mut |pgno, page| {
            pages.insert(pgno, page.to_vec());
            Ok(())
        })?);
    }
    pieces.reverse();
    let summary = ltx::verify_pieces(head, pieces.iter().copied(), index, &trailer.to_bytes())?;
    let streamed = entries.digest().expect("read to the end");
    assert_eq!(summary, ltx::verify_parts(head, pieces.into_iter(), streamed, &trailer.to_bytes())?);
    Ok(pages)
}

/// A page size with few pages if they are big.
pub(crate) fn page_sizes() -> impl Strategy<Value = u32> {
    prop_oneof![5 => Just(512u32), 2 => Just(1024), 1 => Just(2048), 2 => Just(4096), 1 => Just(8192),
        1 => Just(16384), 1 => Just(32768), 1 => Just(65536)]
}

pub(crate) fn encodings() -> impl Strategy<Value = PageEncoding> {
    prop_oneof![Just(PageEncoding::Frame), Just(PageEncoding::Block)]
}

/// A file: snapshot or increment, of few pages.
pub(crate) fn files() -> impl Strategy<Value = (Header, Pages)> {
    (page_sizes(), 1..12u32, any::<u64>(), any::<u16>(), any::<bool>()).prop_map(
        |(size, commit, seed, mask, snapshot)| {
            let header = header(size, commit, if snapshot { 1 } else { 2 }, 5);
            let pages = (1..=commit)
                .filter(|n| snapshot || mask >> n & 1 == 1)
                .map(|n| (n, page(size as usize, seed.wrapping_add(u64::from(n)))))
                .collect();
            (header, pages)
        },
    )
}
