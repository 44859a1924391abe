//! P2 and P6 for damaged files: damage is an error or changes no page. Nothing panics.

use ltx::{Class, Error, PageEncoding};
use proptest::prelude::*;

use crate::sample::{self, ENCODINGS, Pages};

/// Damage that was not noticed must not have changed header or pages.
fn detected_or_harmless(bad: &[u8], header: ltx::Header, pages: &Pages) -> bool {
    let streamed = match sample::decode(bad) {
        Ok(found) => found == (header, pages.clone()),
        Err(_) => true,
    };
    let in_runs = match sample::decode_in_runs(bad, 600) {
        Ok(found) => found == *pages,
        Err(_) => true,
    };
    // A file in memory is told of as a stream is, down to the place.
    let said = |found: ltx::Result<Pages>| format!("{found:?}");
    let alike = said(sample::decode_whole(bad)) == said(sample::decode(bad).map(|(_, pages)| pages));
    streamed && in_runs && alike
}

/// Every byte of a small file of each kind. Where both ways of reading disagree, one of them is wrong.
#[test]
fn p2_a_flipped_bit_in_every_byte_is_detected_or_harmless() {
    for encoding in ENCODINGS {
        for (min, commit) in [(1, 3), (2, 9)] {
            let header = sample::header(512, commit, min, 5);
            let pages: Pages = (1..=3).map(|n| (n, sample::page(512, u64::from(n)))).collect();
            let good = sample::encode(header, &pages, encoding);
            for at in 0..good.len() {
                for bit in [0, 3, 7] {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << bit;
                    assert!(detected_or_harmless(&bad, header, &pages), "byte {at} bit {bit}");
                    assert_eq!(
                        sample::decode(&bad).is_ok(),
                        sample::decode_in_runs(&bad, 600).is_ok(),
                        "byte {at} bit {bit}: streamed and in runs"
                    );
                }
            }
        }
    }
}

/// A cut file is never a file, and always says so in the same way.
#[test]
fn p6_every_truncation_is_detected() {
    for encoding in ENCODINGS {
        let header = sample::header(512, 3, 1, 5);
        let pages: Pages = (1..=3).map(|n| (n, sample::page(512, u64::from(n)))).collect();
        let good = sample::encode(header, &pages, encoding);
        for len in 0..good.len() {
            let error = sample::decode(&good[..len]).unwrap_err();
            assert!(matches!(error, Error::Truncated { offset } if offset == len as u64), "{len}: {error}");
            assert_eq!(error.class(), Class::Retriable);
            assert!(sample::decode_in_runs(&good[..len], 600).is_err(), "{len}");
            let whole = sample::decode_whole(&good[..len]).unwrap_err();
            assert_eq!(whole.to_string(), error.to_string());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn p2_any_changed_byte_is_detected_or_harmless(
        (header, pages) in sample::files(),
        encoding in sample::encodings(),
        at in any::<prop::sample::Index>(),
        xor in 1..=255u8,
    ) {
        let mut bad = sample::encode(header, &pages, encoding);
        let at = at.index(bad.len());
        bad[at] ^= xor;
        prop_assert!(detected_or_harmless(&bad, header, &pages));
    }

    #[test]
    fn p2_any_spliced_or_repeated_part_is_detected_or_harmless(
        (header, pages) in sample::files(),
        encoding in sample::encodings(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        len in 0..200usize,
    ) {
        let good = sample::encode(header, &pages, encoding);
        let (from, to) = (from.index(good.len()), to.index(good.len()));
        let mut bad = good.clone();
        let part: Vec<u8> = good[from..].iter().take(len).copied().collect();
        bad.splice(to..to, part);
        prop_assert!(detected_or_harmless(&bad, header, &pages));
    }

    /// Whatever bytes follow a good header.
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..2000), keep in 0..140usize) {
        let pages: Pages = [(2, sample::page(512, 2))].into();
        let mut bytes = sample::encode(sample::header(512, 5, 2, 9), &pages, PageEncoding::Frame);
        bytes.truncate(keep);
        bytes.extend_from_slice(&noise);
        let _ = sample::decode(&bytes);
        let _ = sample::decode_in_runs(&bytes, 600);
        let _ = sample::decode_whole(&bytes);
        let _ = ltx::merge(vec![bytes.as_slice()], Vec::new(), PageEncoding::Block);
    }
}
