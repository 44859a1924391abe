use super::*;
use crate::echo::closing;
use crate::page_size::PageSize;
use crate::txid::Txid;

fn header(min: u64, commit: u32) -> Header {
    Header {
        page_size: PageSize::new(512).unwrap(),
        commit,
        min_txid: Txid::new(min).unwrap(),
        max_txid: Txid::new(9).unwrap(),
        timestamp_ms: 0,
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: 0,
        reserved: [0; 20],
    }
}

fn index(entries: &[(u32, u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (pgno, offset, size) in entries {
        IndexEntry { pgno: *pgno, offset: *offset, size: *size }.put(&mut out);
    }
    let end = closing(out.len() as u64);
    out.extend_from_slice(&end);
    out
}

fn read(bytes: &[u8], min: u64, offset: u64) -> Result<Vec<IndexEntry>> {
    IndexReader::new(bytes, &header(min, 5), offset).collect()
}

#[test]
fn entries_side_by_side_in_order() {
    let bytes = index(&[(2, 100, 50), (3, 150, 1000), (5, 1150, 60)]);
    assert_eq!(read(&bytes, 2, 1216).unwrap().len(), 3);
    let header = header(2, 5);
    let mut reader = IndexReader::new(bytes.as_slice(), &header, 1216);
    assert!(reader.digest().is_none());
    assert!(reader.by_ref().all(|entry| entry.is_ok()));
    assert_eq!(reader.digest(), Some(IndexDigest::of(&bytes)));
    assert!(read(&index(&[]), 2, 106).unwrap().is_empty());
}

#[test]
fn every_rule_is_checked() {
    type Entries<'a> = &'a [(u32, u64, u64)];
    let cases: &[(Entries<'_>, u64, u64, &str)] = &[
        (&[(3, 100, 50), (2, 150, 50)], 2, 206, "do not ascend"),
        (&[(3, 100, 50), (3, 150, 50)], 2, 206, "do not ascend"),
        (&[(6, 100, 50)], 2, 156, "beyond the end"),
        (&[(2, 99, 50)], 2, 155, "side by side"),
        (&[(2, 100, 50), (3, 151, 50)], 2, 207, "side by side"),
        (&[(2, 100, 6)], 2, 112, "size out of range"),
        (&[(2, 100, u64::MAX)], 2, 112, "size out of range"),
        (&[(2, 100, 2049)], 2, 2155, "size out of range"),
        (&[(2, 100, 50)], 2, 157, "begin where the pages end"),
        (&[], 2, 107, "begin where the pages end"),
        (&[], 1, 106, "missing in a snapshot"),
        (&[(1, 100, 50), (3, 150, 50)], 1, 206, "missing in a snapshot"),
        (&[(2, 100, 50)], 1, 156, "missing in a snapshot"),
    ];
    for (entries, min, offset, expected) in cases {
        let error = read(&index(entries), *min, *offset).unwrap_err().to_string();
        assert!(error.contains(expected), "{entries:?}: {error}");
    }
}

#[test]
fn the_end_is_checked() {
    let good = index(&[(2, 100, 50)]);
    for len in 0..good.len() {
        assert!(matches!(read(&good[..len], 2, 156), Err(Error::Truncated { .. })), "{len}");
    }
    let mut wrong_length = good.clone();
    *wrong_length.last_mut().unwrap() += 1;
    assert!(read(&wrong_length, 2, 156).unwrap_err().to_string().contains("length field"));
    let mut longer = good.clone();
    longer.push(0);
    assert!(read(&longer, 2, 156).unwrap_err().to_string().contains("bytes after"));
    let mut overlong = vec![0x82, 0x00];
    overlong.extend_from_slice(&good[1..]);
    assert!(read(&overlong, 2, 156).unwrap_err().to_string().contains("longer than necessary"));
}

#[test]
fn an_error_ends_the_entries() {
    let bytes = index(&[(3, 100, 50), (2, 150, 50)]);
    let header = header(2, 5);
    let mut reader = IndexReader::new(bytes.as_slice(), &header, 206);
    assert!(matches!(reader.next(), Some(Ok(_))));
    assert!(matches!(reader.next(), Some(Err(_))));
    assert!(reader.next().is_none());
    assert!(reader.digest().is_none());
}

#[test]
fn a_tail_says_how_much_of_it_is_missing() {
    let mut file = vec![0xee; 150];
    file.extend_from_slice(&END_OF_PAGES);
    let entries = index(&[(2, 100, 50)]);
    file.extend_from_slice(&entries);
    file.extend_from_slice(&Trailer { post_apply: 0, file_checksum: 7 }.to_bytes());
    let size = file.len() as u64;
    for len in 0..=file.len() {
        let tail = &file[file.len() - len..];
        match parse_index_tail(tail, size).unwrap() {
            IndexTail::NeedFrom(at) if len < 24 => assert_eq!(at, size - 24),
            IndexTail::NeedFrom(at) => {
                assert_eq!(at, 150);
                assert!(size - (len as u64) > 150);
            }
            IndexTail::Complete { index, offset, trailer } => {
                assert!(len >= 6 + entries.len() + 16);
                assert_eq!((index, offset, trailer.file_checksum), (entries.as_slice(), 156, 7));
            }
        }
    }
}

#[test]
fn the_end_of_pages_stands_before_the_index() {
    let good = [&END_OF_PAGES[..], &index(&[]), &[0; 16]].concat();
    assert!(matches!(parse_index_tail(&good, 131), Ok(IndexTail::Complete { offset: 106, .. })));
    for at in 0..6 {
        let mut bad = good.clone();
        bad[at] = 1;
        assert!(matches!(parse_index_tail(&bad, 131), Err(Error::Page { offset: 100, .. })));
    }
}

#[test]
fn impossible_tails_are_refused() {
    let tail = |entries: u64| [entries.to_be_bytes().as_slice(), &[0; 16]].concat();
    for (entries, size) in [(0, 1000), (1000 - 24 - 106 + 1, 1000), (u64::MAX, 1000), (1, 130)] {
        assert!(parse_index_tail(&tail(entries), size).is_err(), "{entries} of {size}");
    }
    assert!(matches!(parse_index_tail(&tail(1), 131), Ok(IndexTail::NeedFrom(100))));
    assert!(parse_index_tail(&[0; 200], 199).is_err());
    assert!(parse_index_tail(&[], 0).is_err());
}
