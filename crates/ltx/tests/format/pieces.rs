//! A file proven in parts is proven as strictly as one read in order.

use ltx::{Error, PageEncoding, PageSize, Piece, decode_run};
use proptest::prelude::*;

use crate::sample::{self, Pages};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn pieces_prove_what_a_stream_proves(
        (header, pages) in sample::files(),
        encoding in sample::encodings(),
        run in 1..5000u64,
    ) {
        let bytes = sample::encode(header, &pages, encoding);
        prop_assert_eq!(&sample::decode_in_runs(&bytes, run).unwrap(), &pages);
        prop_assert_eq!(sample::decode_whole(&bytes).unwrap(), pages);
    }
}

struct Parts {
    bytes: Vec<u8>,
    index: usize,
    pieces: Vec<Piece>,
}

impl Parts {
    /// A snapshot of four pages, a piece each.
    fn of_snapshot() -> Parts {
        let pages: Pages = (1..=4).map(|n| (n, sample::page(512, u64::from(n)))).collect();
        let bytes = sample::encode(sample::header(512, 4, 1, 9), &pages, PageEncoding::Frame);
        let size = PageSize::new(512).unwrap();
        let mut pieces = Vec::new();
        let mut at = 100;
        for _ in 0..4 {
            let frame = ltx::decode_page(&bytes[at..], size, &mut [0; 512]).unwrap();
            let run = &bytes[at..at + frame.consumed];
            pieces.push(decode_run(run, size, at as u64, &mut |_, _| Ok(())).unwrap());
            at += frame.consumed;
        }
        Parts { index: at + 6, bytes, pieces }
    }

    fn verify(&self, pieces: &[Piece]) -> ltx::Result<ltx::Summary> {
        let end = self.bytes.len() - 16;
        ltx::verify_pieces(
            self.bytes.first_chunk().unwrap(),
            pieces.iter().copied(),
            &self.bytes[self.index..end],
            self.bytes.last_chunk().unwrap(),
        )
    }
}

#[test]
fn p2_missing_repeated_and_exchanged_pieces_are_refused() {
    let parts = Parts::of_snapshot();
    let [a, b, c, d] = parts.pieces[..] else { panic!("four pieces") };
    assert_eq!(parts.verify(&[a, b, c, d]).unwrap().pages, 4);
    for wrong in [&[][..], &[a, b, c], &[b, c, d], &[a, c, d], &[a, b, b, c, d], &[a, c, b, d], &[d, c, b, a]]
    {
        assert!(parts.verify(wrong).is_err(), "{} pieces", wrong.len());
    }
}

/// Without the help of an index reader, which would refuse the same files.
#[test]
fn p2_holes_and_foreign_indexes_are_refused() {
    let mut parts = Parts::of_snapshot();
    let pieces = parts.pieces.clone();
    for (at, byte) in [(0, 2), (1, 101), (2, 9)] {
        let mut other = Parts { bytes: parts.bytes.clone(), ..Parts::of_snapshot() };
        other.bytes[parts.index + at] = byte;
        assert!(matches!(other.verify(&pieces), Err(Error::Index { .. })), "index byte {at}");
    }
    // The database is said to be one page larger.
    parts.bytes[15] = 5;
    match parts.verify(&pieces) {
        Err(Error::Page { rule, .. }) => assert_eq!(rule, "a page is missing in a snapshot"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_pieces_do_no_harm() {
    let parts = Parts::of_snapshot();
    let [a, b, c, d] = parts.pieces[..] else { panic!("four pieces") };
    let size = PageSize::new(512).unwrap();
    let empty = |at| decode_run(&[], size, at, &mut |_, _| panic!("no page")).unwrap();
    let end = parts.index as u64 - 6;
    assert_eq!(empty(100).pages(), 0);
    parts.verify(&[empty(100), a, b, c, d, empty(end)]).unwrap();
    assert!(parts.verify(&[empty(101), a, b, c, d]).is_err());
}

/// The same frames decoded at another place carry another index.
#[test]
fn p2_a_piece_knows_where_it_lay() {
    let parts = Parts::of_snapshot();
    let size = PageSize::new(512).unwrap();
    let run = &parts.bytes[100..parts.index - 6];
    let right = decode_run(run, size, 100, &mut |_, _| Ok(())).unwrap();
    parts.verify(&[right]).unwrap();
    let moved = decode_run(run, size, 101, &mut |_, _| Ok(())).unwrap();
    assert!(matches!(parts.verify(&[moved]), Err(Error::Order { .. })));
}

#[test]
fn runs_hold_whole_frames_in_order() {
    let parts = Parts::of_snapshot();
    let size = PageSize::new(512).unwrap();
    let run = &parts.bytes[100..parts.index - 6];
    let cut = decode_run(&run[..run.len() - 1], size, 100, &mut |_, _| Ok(()));
    let last = parts.index as u64 - 7;
    assert!(matches!(cut, Err(Error::Truncated { offset }) if offset == last));
    let twice = [run, run].concat();
    assert!(matches!(decode_run(&twice, size, 100, &mut |_, _| Ok(())), Err(Error::Page { pgno: 1, .. })));
    let with_end = &parts.bytes[100..parts.index];
    assert!(matches!(decode_run(with_end, size, 100, &mut |_, _| Ok(())), Err(Error::Page { pgno: 0, .. })));

    let stopped = decode_run(run, size, 100, &mut |pgno, _| {
        if pgno == 2 { Err(std::io::Error::other("disk full").into()) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(Error::Io(_))));
}
