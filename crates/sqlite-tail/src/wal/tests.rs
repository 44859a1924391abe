//! The format against itself and against what SQLite writes.

use super::*;
use proptest::prelude::*;
use rusqlite::Connection;

/// A WAL of `pages`, each frame a commit.
fn wal_of(big_endian: bool, page_size: u32, pages: &[Vec<u8>]) -> Vec<u8> {
    let header = WalHeader {
        big_endian,
        page_size,
        sequence: 3,
        salt1: 0x1111_2222,
        salt2: 0x3333_4444,
        checksum: Checksum::default(),
    };
    let mut bytes = header.encode().to_vec();
    let mut checksum = WalHeader::parse(bytes[..].try_into().unwrap()).unwrap().checksum;
    for (at, page) in pages.iter().enumerate() {
        let head =
            FrameHeader::encode(at as u32 + 1, at as u32 + 1, header.salts(), checksum, big_endian, page);
        checksum = FrameHeader::parse(&head).checksum;
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(page);
    }
    bytes
}

fn read_all(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let Some(mut reader) = WalReader::open(bytes).unwrap() else { return Vec::new() };
    let mut frames = Vec::new();
    while let Some((header, page)) = reader.next_frame().unwrap() {
        frames.push((header.pgno, page.to_owned()));
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// P2: whatever is cut off or flipped, what comes out is a prefix of what went in.
    #[test]
    fn p2_damage_leaves_a_prefix(
        big_endian: bool,
        exponent in 9u32..=16,
        count in 0usize..6,
        fill: u8,
        cut in 0usize..200_000,
        flip in 0usize..200_000,
        bit in 0u8..8,
    ) {
        let size = 1usize << exponent;
        let pages: Vec<Vec<u8>> = (0..count).map(|at| vec![fill.wrapping_add(at as u8); size]).collect();
        let whole = wal_of(big_endian, size as u32, &pages);
        prop_assert_eq!(read_all(&whole).len(), count);
        let kept = &whole[..cut.min(whole.len())];
        let frames = read_all(kept);
        prop_assert_eq!(frames.len(), kept.len().saturating_sub(HEADER) / (FRAME_HEADER + size));
        let mut flipped = whole.clone();
        let at = flip % flipped.len();
        flipped[at] ^= 1 << bit;
        let frames = read_all(&flipped);
        prop_assert!(frames.len() < count.max(1), "a flipped bit went unnoticed");
        for ((pgno, page), (at, original)) in frames.iter().zip(pages.iter().enumerate()) {
            prop_assert_eq!(*pgno, at as u32 + 1);
            prop_assert_eq!(page, original);
        }
    }
}

#[test]
fn sqlite_writes_what_we_read() {
    for page_size in [512u32, 1024, 4096, 65_536] {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(dir.path().join("a.db")).unwrap();
        db.execute_batch(&format!(
            "PRAGMA page_size={page_size}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
             CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(300000)); INSERT INTO t VALUES(1);"
        ))
        .unwrap();
        let wal = std::fs::read(dir.path().join("a.db-wal")).unwrap();
        let mut reader = WalReader::open(&wal[..]).unwrap().unwrap();
        assert_eq!(reader.header().page_size, page_size);
        assert_eq!(reader.header().encode()[..], wal[..HEADER]);
        let mut last_commit = 0;
        while let Some((header, _)) = reader.next_frame().unwrap() {
            last_commit = if header.commit > 0 { header.commit } else { last_commit };
        }
        assert_eq!(reader.frame() as usize, (wal.len() - HEADER) / (FRAME_HEADER + page_size as usize));
        assert_eq!(last_commit, db.query_row("PRAGMA page_count", [], |row| row.get::<_, u32>(0)).unwrap());
        // The wal-index agrees, byte for byte.
        let shm = std::fs::read(dir.path().join("a.db-shm")).unwrap();
        let index = crate::wal_index::WalIndex::parse(shm[..136].try_into().unwrap()).unwrap();
        assert_eq!((index.mx_frame, index.db_pages), (reader.frame(), last_commit));
        assert_eq!((index.salts(), index.page_size), (reader.header().salts(), page_size));
        let mut torn: [u8; 136] = shm[..136].try_into().unwrap();
        torn[16] ^= 1;
        assert!(crate::wal_index::WalIndex::parse(&torn).is_none(), "copies differ");
        torn[48 + 16] ^= 1;
        assert!(crate::wal_index::WalIndex::parse(&torn).is_none(), "checksum differs");
    }
}

#[test]
fn what_is_no_wal_has_no_frames() {
    for bytes in [&b""[..], &[0; 31], &[0; 32], &[0xff; 5000]] {
        assert!(WalReader::open(bytes).unwrap().is_none());
    }
}
