use super::*;

fn header() -> Header {
    Header {
        page_size: PageSize::new(4096).unwrap(),
        commit: 7,
        min_txid: Txid::new(2).unwrap(),
        max_txid: Txid::new(3).unwrap(),
        timestamp_ms: 1_700_000_000_123,
        wal_offset: 32,
        wal_size: 4120,
        wal_salt1: 0x11223344,
        wal_salt2: 0x55667788,
        node_id: 0xdeadbeef,
        reserved: *b"abcdefghijklmnopqrst",
    }
}

#[test]
fn a_hundred_bytes_there_and_back() {
    let bytes = header().to_bytes();
    assert_eq!(&bytes[..12], b"LTX1\0\0\0\x02\0\0\x10\0");
    assert_eq!(&bytes[80..], b"abcdefghijklmnopqrst");
    let decoded = Header::from_bytes(&bytes).unwrap();
    assert_eq!(decoded.header, header());
    assert!(!decoded.is_checksum_tracked());
    assert_eq!((decoded.flags, decoded.pre_apply), (2, 0));
    let before_1970 = Header { timestamp_ms: -1, ..header() };
    assert_eq!(Header::from_bytes(&before_1970.to_bytes()).unwrap().timestamp_ms, -1);
}

/// Every rule, broken by overwriting the bytes at an offset of an otherwise good header.
#[test]
fn every_rule_is_checked_on_read() {
    type Patch<'a> = &'a [(usize, &'a [u8])];
    let zeros = [0u8; 24];
    let cases: &[(Patch<'_>, &str)] = &[
        (&[(0, b"LTX2")], "not an LTX file"),
        (&[(4, &[0, 0, 0, 3])], "unknown flags"),
        (&[(4, &[0x80, 0, 0, 2])], "unknown flags"),
        (&[(8, &[0, 0, 0x10, 1])], "page size"),
        (&[(8, &[0, 2, 0, 0])], "page size"),
        (&[(8, &[0, 0, 1, 0])], "page size"),
        (&[(12, &[0, 0, 0, 0])], "commit is 0"),
        (&[(16, &zeros[..8])], "minimum transaction id is 0"),
        (&[(24, &zeros[..8])], "maximum transaction id is 0"),
        (&[(23, &[4])], "above the maximum"),
        (&[(40, &[0x80, 0, 0, 0, 0, 0, 0, 1])], "pre-apply"),
        (&[(48, &[0x80])], "WAL offset is negative"),
        (&[(56, &[0x80])], "WAL size is negative"),
        (&[(48, &zeros[..8])], "WAL salts without"),
        (&[(48, &zeros[..8]), (64, &zeros[..4])], "WAL salts without"),
        (&[(48, &zeros[..8]), (64, &zeros[..8])], "WAL size without"),
        // Checksum-tracked files.
        (&[(4, &zeros[..4])], "pre-apply checksum without its flag"),
        (&[(4, &zeros[..4]), (40, &[0x7f, 1, 1, 1, 1, 1, 1, 1])], "pre-apply checksum without its flag"),
        (&[(4, &zeros[..4]), (23, &[1]), (40, &[0x80])], "pre-apply checksum in a snapshot"),
    ];
    for (patch, expected) in cases {
        let mut bytes = header().to_bytes();
        for (at, with) in *patch {
            bytes[*at..at + with.len()].copy_from_slice(with);
        }
        let error = Header::from_bytes(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{patch:?}: {error}");
    }
}

#[test]
fn tracked_headers_are_read() {
    let mut bytes = header().to_bytes();
    bytes[4..8].fill(0);
    bytes[40..48].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 1]);
    let decoded = Header::from_bytes(&bytes).unwrap();
    assert!(decoded.is_checksum_tracked());
    assert_eq!(decoded.pre_apply, FLAG | 1);
    // Only a tracked file may say that the database is gone.
    bytes[12..16].fill(0);
    assert_eq!(Header::from_bytes(&bytes).unwrap().commit, 0);
}

#[test]
fn the_same_rules_hold_for_writing() {
    let two = Txid::new(2).unwrap();
    for (bad, expected) in [
        (Header { commit: 0, ..header() }, "commit is 0"),
        (Header { max_txid: Txid::FIRST, min_txid: two, ..header() }, "above the maximum"),
        (Header { wal_offset: 0, ..header() }, "WAL salts without"),
        (Header { wal_offset: 0, wal_salt1: 0, wal_salt2: 0, ..header() }, "WAL size without"),
        (Header { wal_offset: u64::MAX, ..header() }, "WAL offset is negative"),
        (Header { wal_size: 1 << 63, ..header() }, "WAL size is negative"),
    ] {
        let error = bad.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    header().validate().unwrap();
}
