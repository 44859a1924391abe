//! Files that must not be written, and files that must not be believed though their checksums fit.

use ltx::{Class, Decoder, Encoder, Error, PageEncoding, PageSize};

use crate::sample::{self, ENCODINGS, Pages};

/// Pages offered, in order; what becomes of it.
#[test]
fn what_no_reader_accepts_is_not_written() {
    let lock = PageSize::new(65536).unwrap().lock_page();
    let cases: &[(u32, u32, u64, &[u32], &str)] = &[
        (512, 5, 2, &[0], "page number 0"),
        (512, 5, 2, &[6], "beyond the end"),
        (512, 5, 2, &[3, 3], "do not ascend"),
        (512, 5, 2, &[3, 2], "do not ascend"),
        (512, 5, 1, &[2], "missing in a snapshot"),
        (512, 5, 1, &[1, 3], "missing in a snapshot"),
        (512, 5, 1, &[1, 2, 3, 4], "missing in a snapshot"),
        (512, 5, 1, &[], "missing in a snapshot"),
        (65536, lock + 5, 2, &[lock], "lock page"),
    ];
    for (size, commit, min, pages, expected) in cases {
        for encoding in ENCODINGS {
            let header = sample::header(*size, *commit, *min, 9);
            let mut encoder = Encoder::new(Vec::new(), header, encoding).unwrap();
            let page = vec![1; *size as usize];
            let error = pages
                .iter()
                .try_for_each(|pgno| encoder.page(*pgno, &page))
                .and_then(|()| encoder.finish().map(drop))
                .unwrap_err();
            assert!(error.to_string().contains(expected), "{pages:?}: {error}");
            assert_eq!(error.class(), Class::Refused);
        }
    }
}

#[test]
fn pages_of_another_size_and_bad_headers_are_not_written() {
    let header = sample::header(512, 5, 2, 9);
    for len in [0, 511, 513, 1024] {
        let mut encoder = Encoder::new(Vec::new(), header, PageEncoding::Frame).unwrap();
        assert!(encoder.page(1, &vec![0; len]).is_err(), "{len}");
        assert!(encoder.page(2, &[0; 512]).is_err(), "nothing is written after an error");
        assert!(encoder.finish().is_err());
    }
    let mut out = Vec::new();
    assert!(Encoder::new(&mut out, sample::header(512, 0, 2, 9), PageEncoding::Frame).is_err());
    assert!(out.is_empty());
}

struct Full;

impl std::io::Write for Full {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        if buf.len() == 100 { Ok(100) } else { Err(std::io::ErrorKind::StorageFull.into()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failed_write_fails_the_file() {
    let header = sample::header(512, 5, 2, 9);
    let mut encoder = Encoder::new(Full, header, PageEncoding::Frame).unwrap();
    assert!(matches!(encoder.page(1, &[0; 512]), Err(Error::Io(_))));
    assert!(encoder.page(2, &[0; 512]).is_err());
    assert!(encoder.finish().is_err());
}

/// Makes the file checksum of `bytes` fit whatever else was changed outside the compressed pages.
fn reseal(bytes: &mut [u8]) {
    for _ in 0..2 {
        if let Err(Error::Checksum { what: "file checksum", actual, .. }) = sample::decode(bytes) {
            let at = bytes.len() - 8;
            bytes[at..].copy_from_slice(&actual.to_be_bytes());
        }
    }
}

/// Litestream does not compare the index with the pages; a restore that trusts it would read elsewhere.
#[test]
fn p2_an_index_that_does_not_match_the_pages_is_refused() {
    let pages: Pages = (2..=4).map(|n| (n, sample::page(512, u64::from(n)))).collect();
    for encoding in ENCODINGS {
        let good = sample::encode(sample::header(512, 5, 2, 9), &pages, encoding);
        let index = match ltx::parse_index_tail(&good, good.len() as u64).unwrap() {
            ltx::IndexTail::Complete { offset, .. } => offset as usize,
            ltx::IndexTail::NeedFrom(_) => panic!("whole file given"),
        };
        for at in index..good.len() - 16 {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                reseal(&mut bad);
                assert!(matches!(sample::decode(&bad), Err(Error::Index { .. })), "byte {at} bit {bit}");
                assert!(sample::decode_in_runs(&bad, 1).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}

/// Headers changed into other headers that are fine by themselves.
#[test]
fn p2_pages_that_do_not_fit_the_header_are_refused() {
    let pages: Pages = [(2, sample::page(512, 2)), (5, sample::page(512, 5))].into();
    let good = sample::encode(sample::header(512, 5, 2, 9), &pages, PageEncoding::Frame);
    for (at, byte, rule) in [
        (15, 4, "beyond the end"),
        (23, 1, "missing in a snapshot"),
        (103, 0, "page number 0"),
        (103, 6, "beyond the end"),
        (103, 5, "do not ascend"),
        (105, 2, "unknown page flags"),
        (104, 1, "unknown page flags"),
        (10, 4, "shorter than a page"),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        if (at, byte) == (103, 0) {
            bad[105] = 1;
        }
        let error = sample::decode(&bad).unwrap_err();
        assert!(error.to_string().contains(rule), "{error}");
        assert_eq!(error.class(), Class::Fatal);
        assert!(sample::decode_in_runs(&bad, 1).is_err(), "{rule}");
    }
}

/// A snapshot that ends early, with checksums that fit: an increment renamed to begin at 1.
#[test]
fn p2_a_snapshot_that_ends_early_is_refused() {
    let pages: Pages = (1..=4).map(|n| (n, sample::page(512, u64::from(n)))).collect();
    let mut bytes = sample::encode(sample::header(512, 5, 2, 9), &pages, PageEncoding::Frame);
    bytes[23] = 1;
    reseal(&mut bytes);
    let error = sample::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("missing in a snapshot"), "{error}");
    assert!(ltx::decode_database(bytes.as_slice(), std::io::sink()).is_err());
    assert!(sample::decode_in_runs(&bytes, 600).is_err());
}

#[test]
fn trailers_are_checked() {
    let good = sample::encode(sample::header(512, 5, 2, 9), &Pages::new(), PageEncoding::Frame);
    let end = good.len();
    for (at, rule) in [(end - 16, "post-apply"), (end - 9, "post-apply"), (end - 8, "flag bit")] {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        let error = sample::decode(&bad).unwrap_err().to_string();
        assert!(error.contains(rule), "{error}");
        assert_eq!(sample::decode_in_runs(&bad, 1).unwrap_err().to_string(), error);
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(sample::decode(&longer).unwrap_err().to_string().contains("after the trailer"));
}

#[test]
fn a_decoder_stays_failed() {
    let pages: Pages = (1..=5).map(|n| (n, sample::page(512, 2))).collect();
    let mut bytes = sample::encode(sample::header(512, 5, 2, 9), &pages, PageEncoding::Frame);
    bytes[104] = 9;
    let mut decoder = Decoder::new(bytes.as_slice()).unwrap();
    let mut page = [0; 512];
    assert!(decoder.next_page(&mut page).is_err());
    assert!(decoder.next_page(&mut page).is_err());
    assert_eq!(decoder.summary(), None);
    assert!(decoder.finish().is_err());

    let good = sample::encode(sample::header(512, 5, 2, 9), &pages, PageEncoding::Frame);
    let mut decoder = Decoder::new(good.as_slice()).unwrap();
    assert!(decoder.next_page(&mut [0; 511]).is_err());
    assert!(ltx::decode_page(&good[100..], PageSize::new(512).unwrap(), &mut [0; 513]).is_err());
}

/// P7: a frame that keeps promising more is refused, not read to the end of the stream.
#[test]
fn p7_endless_frames_are_refused() {
    let good = sample::encode(sample::header(512, 5, 2, 9), &Pages::new(), PageEncoding::Frame);
    let mut block = good[..100].to_vec();
    block.extend_from_slice(&[0, 0, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    let mut frame = good[..100].to_vec();
    frame.extend_from_slice(&[0, 0, 0, 1, 0, 0, 4, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
    frame.extend_from_slice(&[0, 0xff, 0, 0]);
    let mut empty_blocks = good[..100].to_vec();
    empty_blocks.extend_from_slice(&[0, 0, 0, 1, 0, 0, 4, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7]);
    // A block of one token that yields nothing, again and again.
    (0..100_000).for_each(|_| empty_blocks.extend_from_slice(&[1, 0, 0, 0, 0]));
    for mut bytes in [block, frame, empty_blocks] {
        bytes.resize(1 << 20, 0);
        let error = sample::decode(&bytes).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
}

#[test]
fn only_snapshots_become_databases() {
    let pages: Pages = (1..=5).map(|n| (n, sample::page(512, 2))).collect();
    let bytes = sample::encode(sample::header(512, 5, 2, 9), &pages, PageEncoding::Frame);
    let mut out = Vec::new();
    let error = ltx::decode_database(bytes.as_slice(), &mut out).unwrap_err();
    assert_eq!(error.class(), Class::Refused);
    assert!(out.is_empty());
}
