//! What goes in comes out, streaming and seeking.

use super::*;
use proptest::prelude::*;
use std::io::Write;

fn expected(parts: &[Vec<u8>]) -> Content {
    let pieces = (0..parts.len())
        .map(|index| Metadata { kind: (index % 14) as u8, bytes: format!("part {index}").into() });
    let end = Metadata { kind: 13, bytes: b"the end".to_vec() };
    (parts.concat(), pieces.chain([end]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn parts_round_trip(
        sizes in prop::collection::vec(prop_oneof![0..300_usize, 60_000..140_000_usize], 0..6),
        block_bytes in prop_oneof![1..64_usize, 1_000..200_000_usize],
    ) {
        // Tiny blocks of big parts would be a million frames.
        let block_bytes = block_bytes.max(sizes.iter().sum::<usize>() / 2_000 + 1);
        let parts: Vec<Vec<u8>> = sizes.into_iter().map(sample).collect();
        let key = key();
        let wanted = expected(&parts);
        for read in open_both(&key, &seal_parts(&key, &parts, block_bytes)) {
            prop_assert_eq!(&read.unwrap(), &wanted);
        }
        for read in open_both_plain(&plain_parts(&parts, block_bytes)) {
            prop_assert_eq!(&read.unwrap(), &wanted);
        }
    }

    #[test]
    fn any_range_is_what_was_written(size in 1..300_000_usize, from in 0..310_000_u64, count in 0..100_000_usize) {
        let (key, data) = (key(), sample(size));
        let object = seal_parts(&key, std::slice::from_ref(&data), 50_000);
        let mut seeker = SealedReader::open(Cursor::new(object), &key.identities).unwrap();
        for from in [from, 0, from / 2, size as u64] {
            let mut buffer = vec![0xAA; count];
            let read = seeker.read_at(from, &mut buffer).unwrap();
            let start = (from as usize).min(size);
            prop_assert_eq!(&buffer[..read], &data[start..(start + count).min(size)]);
        }
    }
}

#[test]
fn nothing_is_an_object_too() {
    let key = key();
    let object = Sealer::new(Vec::new(), &key.recipients, Options::default()).unwrap().finish().unwrap();
    for read in open_both(&key, &object) {
        assert_eq!(read.unwrap(), (Vec::new(), Vec::new()));
    }
    let only_metadata = {
        let mut writer = PlainWriter::new(Vec::new(), Options::default()).unwrap();
        writer.metadata(0, b"").unwrap();
        writer.finish().unwrap()
    };
    for read in open_both_plain(&only_metadata) {
        assert_eq!(read.unwrap(), (Vec::new(), vec![Metadata { kind: 0, bytes: Vec::new() }]));
    }
}

#[test]
fn read_and_write_are_the_data_alone() {
    let (key, data) = (key(), sample(3_000_000));
    let mut writer = Sealer::new(Vec::new(), &key.recipients, Options::default()).unwrap();
    writer.metadata(2, b"skipped").unwrap();
    writer.write_all(&data).unwrap();
    let object = writer.finish().unwrap();
    let mut read = Vec::new();
    Opener::new(object.as_slice(), &key.identities).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, data);
    let seeker = SealedReader::open(Cursor::new(object), &key.identities).unwrap();
    assert_eq!(
        seeker.blocks().iter().map(|block| block.size).collect::<Vec<_>>(),
        [1 << 20, 1 << 20, 902_848]
    );
    assert_eq!(seeker.metadata()[0].blocks_before, 0);
}

#[test]
fn p7_options_and_metadata_are_bounded() {
    let begin = |level, block_bytes| PlainWriter::new(Vec::new(), Options { level, block_bytes }).err();
    for error in [begin(0, 1), begin(20, 1), begin(1, 0), begin(1, MAX_BLOCK_BYTES + 1)] {
        assert!(matches!(error, Some(Error::Bounds(_))), "{error:?}");
    }
    let mut writer = PlainWriter::new(Vec::new(), Options::default()).unwrap();
    assert!(writer.metadata(14, b"").is_err(), "the kind of the seek table");
    assert!(writer.metadata(0, &vec![0; MAX_METADATA_BYTES + 1]).is_err());
    writer.metadata(0, &vec![7; MAX_METADATA_BYTES]).unwrap();
    for read in open_both_plain(&writer.finish().unwrap()) {
        assert_eq!(read.unwrap().1[0].bytes.len(), MAX_METADATA_BYTES);
    }
}

#[test]
fn the_largest_block_at_the_highest_level_is_read() {
    let data = sample(MAX_BLOCK_BYTES);
    let mut writer =
        PlainWriter::new(Vec::new(), Options { level: 19, block_bytes: MAX_BLOCK_BYTES }).unwrap();
    writer.data(&data).unwrap();
    for read in open_both_plain(&writer.finish().unwrap()) {
        assert!(read.unwrap().0 == data);
    }
}
