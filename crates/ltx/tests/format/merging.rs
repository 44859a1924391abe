//! A merge has the effect of its inputs, one after the other.

use ltx::{Class, FileName, Header, MemorySpool, PageEncoding, Stamp, Txid};
use proptest::prelude::*;

use crate::sample::{self, Pages};

/// One step of a database: its new size, and which pages it writes.
#[derive(Debug, Clone)]
struct Step {
    commit: u32,
    mask: u32,
    seed: u64,
    /// Transactions in the file, and how many of the previous file's it repeats.
    span: u64,
    overlap: u64,
    encoding: PageEncoding,
}

fn steps() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let step = (1..20u32, any::<u32>(), any::<u64>(), 1..4u64, 0..3u64, sample::encodings()).prop_map(
        |(commit, mask, seed, span, overlap, encoding)| Step { commit, mask, seed, span, overlap, encoding },
    );
    (any::<bool>(), prop::collection::vec(step, 1..7))
}

/// The files of these steps, and the pages they leave behind. Writers include every page by which
/// the database grows; pages cut off are forgotten.
fn replay(snapshot: bool, steps: &[Step]) -> (Vec<(Header, Vec<u8>)>, Pages) {
    let mut files = Vec::new();
    let mut model = Pages::new();
    let mut size = 0;
    let mut last: u64 = if snapshot { 0 } else { 10 };
    for (at, step) in steps.iter().enumerate() {
        let min = if at == 0 { last + 1 } else { (last + 1).saturating_sub(step.overlap).max(2) };
        let max = last + step.span;
        let pages: Pages = (1..=step.commit)
            .filter(|n| (at == 0 && snapshot) || (at > 0 && *n > size) || step.mask >> n & 1 == 1)
            .map(|n| (n, sample::page(512, step.seed.wrapping_add(u64::from(n)))))
            .collect();
        model.retain(|n, _| *n <= step.commit);
        model.extend(pages.clone());
        let header = sample::header(512, step.commit, min, max);
        files.push((header, sample::encode(header, &pages, step.encoding)));
        (size, last) = (step.commit, max);
    }
    (files, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn merge_equals_replay((snapshot, steps) in steps(), encoding in sample::encodings()) {
        let (files, model) = replay(snapshot, &steps);
        let inputs = files.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let (bytes, header, summary) = ltx::merge(inputs, Vec::new(), encoding).unwrap();
        let (first, last) = (files[0].0, files[files.len() - 1].0);
        prop_assert_eq!(
            header,
            Header {
                min_txid: first.min_txid,
                wal_offset: 0,
                wal_size: 0,
                wal_salt1: 0,
                wal_salt2: 0,
                node_id: 0,
                reserved: [0; 20],
                ..last
            }
        );
        prop_assert_eq!(summary.size, bytes.len() as u64);
        prop_assert_eq!(sample::decode_in_runs(&bytes, 900).unwrap(), model.clone());
        prop_assert_eq!(sample::decode(&bytes).unwrap(), (header, model.clone()));
        // Passing page frames on must not differ from compressing them.
        prop_assert_eq!(bytes, sample::encode(header, &model, encoding));
    }

    /// Merging in two steps is merging in one.
    #[test]
    fn merge_is_associative((snapshot, steps) in steps(), cut in any::<prop::sample::Index>()) {
        let (files, _) = replay(snapshot, &steps);
        let all: Vec<&[u8]> = files.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let (at_once, ..) = ltx::merge(all.clone(), Vec::new(), PageEncoding::Frame).unwrap();
        let (head, tail) = all.split_at(1 + cut.index(all.len()));
        let (part, ..) = ltx::merge(head.to_vec(), Vec::new(), PageEncoding::Block).unwrap();
        let rest = std::iter::once(part.as_slice()).chain(tail.iter().copied()).collect();
        let (in_steps, ..) = ltx::merge(rest, Vec::new(), PageEncoding::Frame).unwrap();
        prop_assert_eq!(at_once, in_steps);
    }
}

fn file(min: u64, max: u64, size: u32) -> Vec<u8> {
    sample::encode(sample::header(size, 5, min, max), &Pages::new(), PageEncoding::Frame)
}

/// Ranges and page sizes of the inputs; the input that does not fit.
#[test]
fn inputs_must_follow_one_another() {
    type Inputs<'a> = &'a [(u64, u64, u32)];
    let cases: &[(Inputs<'_>, Option<usize>)] = &[
        (&[], Some(0)),
        (&[(2, 3, 512)], None),
        (&[(2, 3, 512), (4, 4, 512)], None),
        (&[(2, 3, 512), (3, 4, 512)], None),
        (&[(2, 3, 512), (2, 4, 512)], None),
        (&[(4, 5, 512), (2, 6, 512)], None),
        (&[(2, 3, 512), (5, 5, 512)], Some(1)),
        (&[(2, 3, 512), (3, 3, 512)], Some(1)),
        (&[(2, 3, 512), (4, 4, 512), (4, 4, 512)], Some(2)),
        (&[(4, 4, 512), (2, 3, 512)], Some(1)),
        (&[(2, 3, 512), (4, 4, 1024)], Some(1)),
    ];
    for (ranges, expected) in cases {
        let files: Vec<_> = ranges.iter().map(|(min, max, size)| file(*min, *max, *size)).collect();
        let inputs = files.iter().map(Vec::as_slice).collect();
        match (ltx::merge(inputs, Vec::new(), PageEncoding::Frame), expected) {
            (Ok(_), None) => {}
            (Err(error @ ltx::Error::Order { .. }), Some(at)) => {
                assert!(matches!(error, ltx::Error::Order { input, .. } if input == *at), "{error}");
                assert_eq!(error.class(), Class::Refused);
            }
            (other, _) => panic!("{ranges:?}: {:?}", other.map(|(.., summary)| summary)),
        }
    }
}

#[test]
fn the_caller_stamps_the_result() {
    let input = file(2, 3, 512);
    let stamp = Stamp { node_id: 42, reserved: [9; 20] };
    let (bytes, header, _) = ltx::merge_with(
        vec![input.as_slice()],
        Vec::new(),
        PageEncoding::Frame,
        stamp,
        MemorySpool::default(),
    )
    .unwrap();
    assert_eq!((header.node_id, header.reserved), (42, [9; 20]));
    assert_eq!(sample::decode(&bytes).unwrap().0, header);
    let name = FileName { min: header.min_txid, max: header.max_txid };
    assert_eq!(name, FileName { min: Txid::new(2).unwrap(), max: Txid::new(3).unwrap() });
}

/// P2: a page nobody needs is proven all the same.
#[test]
fn p2_every_input_is_read_to_its_end() {
    let old: Pages = (1..=5).map(|n| (n, sample::page(512, 1))).collect();
    let mut damaged = sample::encode(sample::header(512, 5, 2, 3), &old, PageEncoding::Frame);
    // A stored page: the changed byte passes LZ4 and fails the checksums.
    damaged[200] ^= 1;
    let new: Pages = [(1, sample::page(512, 2))].into();
    let newest = sample::encode(sample::header(512, 1, 4, 4), &new, PageEncoding::Frame);
    let inputs = vec![damaged.as_slice(), newest.as_slice()];
    assert!(ltx::merge(inputs, Vec::new(), PageEncoding::Frame).is_err());
}
