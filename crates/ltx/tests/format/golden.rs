//! Files written by the Go library and by an independent encoder (see `tests/vectors/README.md`).

use std::path::PathBuf;

use ltx::checksum::{Rolling, page_checksum};
use ltx::{Decoder, FileName, Header, IndexEntry, IndexReader, IndexTail, PageEncoding, Txid};

use crate::sample;

fn vector(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "vectors", name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn first_page_flags(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[104], bytes[105]])
}

/// Name, page size, commit, first and last transaction, pages, file checksum.
const FILES: &[(&str, u32, u32, u64, u64, usize, u64)] = &[
    ("inc-051.ltx", 512, 4, 4, 4, 1, 0xed99dc9d4adb8788),
    ("inc-052.ltx", 512, 4, 4, 4, 1, 0xacb4c325c4c82ca7),
    ("snap-051.ltx", 512, 4, 1, 3, 4, 0),
    ("snap-052.ltx", 512, 4, 1, 3, 4, 0),
    ("snapck-051.ltx", 512, 4, 1, 3, 4, 0),
    ("nochk.ltx", 512, 4, 1, 3, 4, 0),
    ("py-frame.ltx", 512, 4, 1, 3, 4, 0),
    ("py-block.ltx", 512, 4, 1, 3, 4, 0),
    ("empty.ltx", 4096, 3, 5, 5, 0, 0xa2aa7df336a6ee13),
    ("ps512-f.ltx", 512, 3, 1, 1, 3, 0),
    ("ps512-b.ltx", 512, 3, 1, 1, 3, 0),
    ("ps65536-f.ltx", 65536, 3, 1, 1, 3, 0),
    ("ps65536-b.ltx", 65536, 3, 1, 1, 3, 0),
];

#[test]
fn files_of_other_writers_are_proven_whole_and_in_runs() {
    for (name, page_size, commit, min, max, pages, checksum) in FILES {
        let bytes = vector(name);
        let (header, streamed) = sample::decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = (header.page_size.get(), header.commit, header.min_txid.get(), header.max_txid.get());
        assert_eq!(found, (*page_size, *commit, *min, *max), "{name}");
        assert_eq!(streamed.len(), *pages, "{name}");
        for run in [1, 300, u64::MAX / 2] {
            assert_eq!(sample::decode_in_runs(&bytes, run).unwrap(), streamed, "{name}");
        }
        let summary = Decoder::new(bytes.as_slice()).unwrap().finish().unwrap();
        if *checksum != 0 {
            assert_eq!(summary.file_checksum, *checksum, "{name}");
        }
    }
}

#[test]
fn increments_hold_the_described_content() {
    let (header, frame) = sample::decode(&vector("inc-051.ltx")).unwrap();
    let (same, block) = sample::decode(&vector("inc-052.ltx")).unwrap();
    assert_eq!((header, &frame), (same, &block));
    assert_eq!(frame.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(header.timestamp_ms, 1_700_000_000_123);
    assert_eq!((header.wal_offset, header.wal_salt1, header.wal_salt2), (32, 0x11223344, 0x55667788));
    for (name, size) in [("inc-051.ltx", 0x3fusize), ("inc-052.ltx", 0x30)] {
        let bytes = vector(name);
        let IndexTail::Complete { index, offset, trailer } =
            ltx::parse_index_tail(&bytes[100 + size..], bytes.len() as u64).unwrap()
        else {
            panic!("the tail holds the index");
        };
        assert_eq!(index, [&[2, 0x64, size as u8, 0][..], &4u64.to_be_bytes()].concat());
        let entries: Vec<_> = IndexReader::new(index, &header, offset).map(|e| e.unwrap()).collect();
        assert_eq!(entries, [IndexEntry { pgno: 2, offset: 0x64, size: size as u64 }]);
        assert_eq!(trailer.post_apply, 0);
    }
}

/// Containers other than our own are re-encoded, ours reproduce the golden bytes but for the
/// compressor's choices: for an incompressible page there are none.
#[test]
fn what_go_wrote_we_write() {
    for (name, encoding) in [
        ("inc-051.ltx", PageEncoding::Frame),
        ("inc-052.ltx", PageEncoding::Block),
        ("ps512-f.ltx", PageEncoding::Frame),
        ("ps512-b.ltx", PageEncoding::Block),
        ("empty.ltx", PageEncoding::Frame),
        ("empty.ltx", PageEncoding::Block),
    ] {
        let golden = vector(name);
        let (header, pages) = sample::decode(&golden).unwrap();
        let ours = sample::encode(header, &pages, encoding);
        assert_eq!(ours[..100], golden[..100], "{name}: header");
        if pages.is_empty() {
            assert_eq!(ours, golden, "{name}");
        } else {
            assert_eq!(first_page_flags(&ours), first_page_flags(&golden), "{name}: encoding");
            assert_eq!(sample::decode(&ours).unwrap(), (header, pages), "{name}");
        }
        if name == "ps512-f.ltx" {
            assert_eq!(ours[100..117 + 512], golden[100..117 + 512], "a stored page, byte for byte");
        }
    }
}

#[test]
fn snapshots_are_the_database() {
    let database = vector("a.db");
    for name in ["snap-051.ltx", "snap-052.ltx", "snapck-051.ltx", "nochk.ltx"] {
        let mut out = Vec::new();
        let header = ltx::decode_database(vector(name).as_slice(), &mut out).unwrap();
        assert!(header.is_snapshot());
        assert!(out == database, "{name}");
    }
    let mut frame = Vec::new();
    let mut block = Vec::new();
    ltx::decode_database(vector("py-frame.ltx").as_slice(), &mut frame).unwrap();
    ltx::decode_database(vector("py-block.ltx").as_slice(), &mut block).unwrap();
    assert_eq!(frame, block);
}

#[test]
fn rolling_checksum_of_a_database() {
    let mut rolling = Rolling::empty();
    for (at, page) in vector("a.db").chunks(512).enumerate() {
        rolling.replace(None, Some(page_checksum(at as u32 + 1, page)));
    }
    assert_eq!(rolling.value(), 0xf4ea757a3d86ac4f);
}

#[test]
fn checksum_tracked_files_are_read_and_their_database_checksum_is_proven() {
    let mut bytes = vector("snapck-051.ltx");
    let decoder = Decoder::new(bytes.as_slice()).unwrap();
    assert!(decoder.header().is_checksum_tracked());
    let at = bytes.len() - 16;
    assert_eq!(bytes[at..at + 8], 0xf4ea757a3d86ac4fu64.to_be_bytes());

    // Another post-apply checksum, with the file checksum made to fit.
    bytes[at + 7] ^= 1;
    let claimed = match sample::decode(&bytes) {
        Err(ltx::Error::Checksum { what: "file checksum", actual, .. }) => actual,
        other => panic!("{other:?}"),
    };
    bytes[at + 8..].copy_from_slice(&claimed.to_be_bytes());
    match sample::decode(&bytes) {
        Err(ltx::Error::Checksum { what: "post-apply checksum", actual, .. }) => {
            assert_eq!(actual, 0xf4ea757a3d86ac4f);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn foreign_header_fields_survive() {
    for name in ["py-frame.ltx", "py-block.ltx"] {
        let bytes = vector(name);
        let header = Header::from_bytes(bytes.first_chunk().unwrap()).unwrap();
        assert_eq!(header.node_id, 0xdeadbeef, "{name}");
        assert_ne!(header.reserved, [0; 20], "{name}");
        assert_eq!(ltx::Extension::from_reserved(&header.reserved), None, "{name}");
        assert_eq!(header.header.to_bytes(), bytes[..100], "{name}");
    }
}

#[test]
fn golden_files_merge() {
    for encoding in sample::ENCODINGS {
        let (snapshot, increment) = (vector("nochk.ltx"), vector("inc-052.ltx"));
        let inputs = vec![snapshot.as_slice(), increment.as_slice()];
        let (bytes, header, _) = ltx::merge(inputs, Vec::new(), encoding).unwrap();
        let name = FileName { min: header.min_txid, max: header.max_txid };
        assert_eq!(name.to_string(), "0000000000000001-0000000000000004.ltx");
        assert_eq!(header.max_txid, Txid::new(4).unwrap());
        let (_, mut expected) = sample::decode(&snapshot).unwrap();
        expected.extend(sample::decode(&increment).unwrap().1);
        assert_eq!(sample::decode(&bytes).unwrap(), (header, expected));
    }
}
