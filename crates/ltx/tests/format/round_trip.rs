//! What is written is read.

use std::io::{Cursor, Read};

use ltx::{Decoder, Encoder, PageEncoding, PageSize, SeekSpool};
use proptest::prelude::*;

use crate::sample::{self, ENCODINGS, Pages};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn files_come_back((header, pages) in sample::files(), encoding in sample::encodings()) {
        let bytes = sample::encode(header, &pages, encoding);
        prop_assert_eq!(sample::decode(&bytes).unwrap(), (header, pages));
    }

    /// Both encodings in one file, put together by hand from a file of each: nothing but the flag in
    /// front of a page says which one it has.
    #[test]
    fn mixed_encodings_come_back((header, pages) in sample::files(), choice in any::<u16>(), run in 1..4000u64) {
        let bytes = mixed(&header, &pages, choice);
        prop_assert_eq!(sample::decode(&bytes).unwrap(), (header, pages.clone()));
        prop_assert_eq!(sample::decode_in_runs(&bytes, run).unwrap(), pages);
    }

    /// A reader that returns as little as it can.
    #[test]
    fn short_reads_change_nothing((header, pages) in sample::files(), step in 1..700usize) {
        let bytes = sample::encode(header, &pages, PageEncoding::Frame);
        let mut decoder = Decoder::new(Dribble { bytes: &bytes, step }).unwrap();
        let mut page = vec![0; header.page_size.bytes()];
        for (pgno, expected) in &pages {
            prop_assert_eq!(decoder.next_page(&mut page).unwrap(), Some(*pgno));
            prop_assert_eq!(&page, expected);
        }
        prop_assert_eq!(decoder.next_page(&mut page).unwrap(), None);
        prop_assert_eq!(decoder.next_page(&mut page).unwrap(), None);
    }
}

struct Dribble<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = self.step.min(buf.len()).min(self.bytes.len());
        let (head, rest) = self.bytes.split_at(len);
        buf[..len].copy_from_slice(head);
        self.bytes = rest;
        Ok(len)
    }
}

fn mixed(header: &ltx::Header, pages: &Pages, choice: u16) -> Vec<u8> {
    use ltx::checksum::{Crc64, FLAG};
    fn uvarint(out: &mut Vec<u8>, mut n: u64) {
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }
    let mut out = header.to_bytes().to_vec();
    let mut crc = Crc64::new();
    crc.update(&out);
    let mut index = Vec::new();
    for (at, (pgno, page)) in pages.iter().enumerate() {
        let encoding = ENCODINGS[usize::from(choice >> at & 1)];
        let lone = ltx::Header { min_txid: header.max_txid, ..*header };
        let one = sample::encode(lone, &Pages::from([(*pgno, page.clone())]), encoding);
        let mut scratch = vec![0; page.len()];
        let frame = ltx::decode_page(&one[100..], header.page_size, &mut scratch).unwrap();
        assert_eq!((frame.encoding(), frame.pgno), (encoding, *pgno));
        let bytes = &one[100..100 + frame.consumed];
        crc.update(&bytes[..frame.hashed_prefix]);
        crc.update(page);
        uvarint(&mut index, u64::from(*pgno));
        uvarint(&mut index, out.len() as u64);
        uvarint(&mut index, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
    index.push(0);
    let len = index.len() as u64;
    index.extend_from_slice(&len.to_be_bytes());
    for part in [&[0; 6], index.as_slice(), &[0; 8]] {
        crc.update(part);
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&(FLAG | crc.value()).to_be_bytes());
    out
}

#[test]
fn every_page_size_in_both_encodings() {
    for size in PageSize::ALL {
        for encoding in ENCODINGS {
            let header = sample::header(size.get(), 9, 1, 3);
            let pages: Pages = (1..=9).map(|n| (n, sample::page(size.bytes(), u64::from(n)))).collect();
            let bytes = sample::encode(header, &pages, encoding);
            assert_eq!(sample::decode(&bytes).unwrap(), (header, pages.clone()));
            let mut database = Vec::new();
            assert_eq!(ltx::decode_database(bytes.as_slice(), &mut database).unwrap(), header);
            assert!(database == pages.into_values().collect::<Vec<_>>().concat());
        }
    }
}

/// A claim: no pages at all.
#[test]
fn a_file_without_pages() {
    for encoding in ENCODINGS {
        let header = sample::header(4096, 77, 6, 6);
        let bytes = sample::encode(header, &Pages::new(), encoding);
        assert_eq!(bytes.len(), 100 + 6 + 1 + 8 + 16);
        assert_eq!(sample::decode(&bytes).unwrap(), (header, Pages::new()));
        assert_eq!(sample::decode_in_runs(&bytes, 1).unwrap(), Pages::new());
    }
}

/// The only page size whose lock page a test can reach: 16384 pages of 64 KiB lie before it.
#[test]
fn the_lock_page_is_left_out_and_becomes_zeros() {
    let lock = PageSize::new(65536).unwrap().lock_page();
    let page = vec![7; 65536];
    for commit in [lock, lock + 1] {
        let header = sample::header(65536, commit, 1, 1);
        let mut encoder = Encoder::new(Vec::new(), header, PageEncoding::Block).unwrap();
        for pgno in (1..=commit).filter(|n| *n != lock) {
            encoder.page(pgno, &page).unwrap();
        }
        let (bytes, summary) = encoder.finish().unwrap();
        assert_eq!(summary.pages, u64::from(lock - 1) + u64::from(commit > lock));
        let mut out = Count::default();
        ltx::decode_database(bytes.as_slice(), &mut out).unwrap();
        assert_eq!(out.total, u64::from(commit) * 65536);
        assert_eq!((out.zeros, out.first_zero), (65536, Some(u64::from(lock - 1) * 65536)));
    }
}

#[derive(Default)]
struct Count {
    total: u64,
    zeros: u64,
    first_zero: Option<u64>,
}

impl std::io::Write for Count {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        if buf[0] == 0 && buf.iter().all(|b| *b == 0) {
            self.first_zero.get_or_insert(self.total);
            self.zeros += buf.len() as u64;
        }
        self.total += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// P7: the index may wait anywhere, and the file is the same.
#[test]
fn p7_the_index_may_wait_in_a_file() {
    let header = sample::header(512, 20_000, 2, 2);
    let page = sample::page(512, 2);
    let spool = SeekSpool::new(Cursor::new(vec![0xff; 10])).unwrap();
    let mut spooled = Encoder::with_spool(Vec::new(), header, PageEncoding::Frame, spool).unwrap();
    let mut kept = Encoder::new(Vec::new(), header, PageEncoding::Frame).unwrap();
    for pgno in (1..=20_000).filter(|n| n % 300 != 7) {
        spooled.page(pgno, &page).unwrap();
        kept.page(pgno, &page).unwrap();
        assert_eq!(spooled.bytes_written(), kept.bytes_written());
    }
    let (spooled, kept) = (spooled.finish().unwrap(), kept.finish().unwrap());
    assert!(spooled == kept);
    let pages = sample::decode(&kept.0).unwrap().1;
    assert!(sample::decode_in_runs(&kept.0, 100_000).unwrap() == pages);
}
