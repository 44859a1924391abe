//! Sealed files there and back; that the data of a snapshot is the database; what everyone may read; damage.

use super::*;
use crate::error::Class;
use ltx::{Extension, Header, PageSize, Txid};
use seal::{Identities, Opener, Recipients};
use std::io::Read;
use std::sync::LazyLock;

/// A key pair of this run: the identity, and its recipient.
fn pair() -> (String, String) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
}

static OURS: LazyLock<(String, String)> = LazyLock::new(pair);
static OTHER: LazyLock<(String, String)> = LazyLock::new(pair);

fn keys() -> (Recipients, Identities) {
    (Recipients::parse(&OURS.1, "test").unwrap(), Identities::parse(&OURS.0, "test").unwrap())
}

fn header(min: u64, max: u64, commit: u32) -> Header {
    let stamp = Extension { epoch: 7, lineage: 0x0123_4567_89ab_cdef, write_id: [1, 2, 3, 4, 5, 6] };
    Header {
        page_size: PageSize::new(512).unwrap(),
        commit,
        min_txid: Txid::new(min).unwrap(),
        max_txid: Txid::new(max).unwrap(),
        timestamp_ms: 1_700_000_000_123,
        wal_offset: 0,
        wal_size: 0,
        wal_salt1: 0,
        wal_salt2: 0,
        node_id: 0x8000_dead_beef_0001,
        reserved: stamp.to_reserved(),
    }
}

fn page(pgno: u32) -> Vec<u8> {
    (0..512u32).map(|at| (pgno.wrapping_mul(31) ^ (at / 7)) as u8).collect()
}

fn sealed(header: &Header, pages: impl Iterator<Item = u32>, recipients: &Recipients) -> Vec<u8> {
    let mut writer = SealedWriter::new(Vec::new(), header, recipients).unwrap();
    for pgno in pages {
        writer.page(pgno, &page(pgno)).unwrap();
    }
    let (out, size) = writer.finish().unwrap();
    assert_eq!(size, out.len() as u64);
    out
}

fn opened(object: &[u8], identities: Option<&Identities>) -> crate::error::Result<(Header, Vec<u32>)> {
    let mut numbers = Vec::new();
    let header = decode(
        object,
        "key",
        identities,
        |_| Ok(()),
        |pgno, bytes| {
            assert_eq!(bytes, page(pgno), "page {pgno}");
            numbers.push(pgno);
            Ok(())
        },
    )?;
    Ok((header, numbers))
}

#[test]
fn p8_the_data_of_a_snapshot_is_the_database() {
    let (recipients, identities) = keys();
    // More than one block.
    let object = sealed(&header(1, 9, 5_000), 1..=5_000, &recipients);
    let mut data = Vec::new();
    Opener::new(object.as_slice(), &identities).unwrap().read_to_end(&mut data).unwrap();
    assert_eq!(data, (1..=5_000).flat_map(page).collect::<Vec<_>>());
    let (inside, numbers) = opened(&object, Some(&identities)).unwrap();
    assert_eq!((inside, numbers), (header(1, 9, 5_000), (1..=5_000).collect()));
}

/// SQLite keeps nothing in the page at 1 GiB and no file of a chain holds it; the data of a snapshot has it as zeros, or everything behind
/// it would lie one page too early.
#[test]
fn p8_the_lock_page_is_in_the_data_of_a_snapshot_and_handed_to_nobody() {
    let (recipients, identities) = keys();
    let page_size = PageSize::new(65_536).unwrap();
    let (lock, bytes) = (page_size.lock_page(), page_size.bytes());
    let header = Header { page_size, ..header(1, 9, lock + 2) };
    let mut writer = SealedWriter::new(Vec::new(), &header, &recipients).unwrap();
    let (blank, mut behind) = (vec![0; bytes], vec![0; bytes]);
    behind[..6].copy_from_slice(b"behind");
    for pgno in (1..=lock + 2).filter(|pgno| *pgno != lock) {
        writer.page(pgno, if pgno > lock { &behind } else { &blank }).unwrap();
    }
    let (object, _) = writer.finish().unwrap();
    let mut handed = (0, 0);
    let check = |_: &Header| Ok(());
    decode(object.as_slice(), "key", Some(&identities), check, |pgno, page| {
        assert!(pgno != lock && page.starts_with(b"behind") == (pgno > lock), "page {pgno}");
        handed = (handed.0 + 1, pgno);
        Ok(())
    })
    .unwrap();
    assert_eq!(handed, (lock + 1, lock + 2));
    let mut data = Opener::new(object.as_slice(), &identities).unwrap();
    let before = u64::from(lock) * bytes as u64;
    assert_eq!(std::io::copy(&mut (&mut data).take(before), &mut std::io::sink()).unwrap(), before);
    let mut rest = Vec::new();
    data.read_to_end(&mut rest).unwrap();
    assert!(rest.len() == 2 * bytes && rest.starts_with(b"behind"));
}

#[test]
fn increments_keep_their_page_numbers() {
    let (recipients, identities) = keys();
    let numbers: Vec<u32> = (1..=9_000).filter(|n| n % 7 == 3 || n % 64 < 5).collect();
    let object = sealed(&header(8, 8, 9_000), numbers.iter().copied(), &recipients);
    assert_eq!(opened(&object, Some(&identities)).unwrap().1, numbers);
    let empty = sealed(&header(8, 8, 9_000), std::iter::empty(), &recipients);
    assert_eq!(opened(&empty, Some(&identities)).unwrap().1, Vec::<u32>::new());
}

#[test]
fn everyone_may_read_the_clear_part_and_it_does_not_hold_the_rolling_checksum() {
    let (recipients, _) = keys();
    let object = sealed(&header(2, 3, 10), [4].into_iter(), &recipients);
    let clear = header_of(&object[..seal::CLEAR_BYTES.min(object.len())], "key").unwrap();
    assert_eq!(clear, Header { node_id: 0, ..header(2, 3, 10) });
    let other = Header { node_id: 0x8000_0000_0000_0001, ..header(2, 3, 10) };
    assert_eq!(clear_part(&other), clear_part(&header(2, 3, 10)));
}

#[test]
fn without_the_identity_it_is_refused_and_not_called_damaged() {
    let (recipients, _) = keys();
    let object = sealed(&header(2, 3, 10), [4].into_iter(), &recipients);
    let other = Identities::parse(&OTHER.0, "other").unwrap();
    for identities in [None, Some(&other)] {
        assert_eq!(opened(&object, identities).unwrap_err().class(), Class::Refused);
    }
}

#[test]
fn p2_damage_is_never_another_file() {
    let (recipients, identities) = keys();
    let object = sealed(&header(2, 3, 900), (1..=900).filter(|n| n % 3 == 0), &recipients);
    for cut in [0, 10, 100, object.len() / 2, object.len() - 1] {
        let error = opened(&object[..cut], Some(&identities)).unwrap_err();
        assert_eq!(error.class(), Class::Damaged, "cut at {cut}: {error}");
    }
    for at in (0..object.len()).step_by(object.len() / 50) {
        let mut bent = object.clone();
        bent[at] ^= 4;
        // A bit of a stanza that nobody needs to open it is noticed by the MAC as well.
        assert!(opened(&bent, Some(&identities)).is_err(), "bit at {at}");
    }
}

#[test]
fn p2_what_no_reader_would_take_is_not_written() {
    let (recipients, _) = keys();
    let begin = |header| SealedWriter::new(Vec::new(), &header, &recipients).unwrap();
    let mut writer = begin(header(2, 2, 10));
    writer.page(5, &page(5)).unwrap();
    for wrong in [5, 4, 11] {
        assert!(writer.page(wrong, &page(wrong)).is_err(), "{wrong}");
    }
    assert!(writer.page(6, &[0; 511]).is_err());
    let mut snapshot = begin(header(1, 2, 3));
    snapshot.page(1, &page(1)).unwrap();
    assert!(snapshot.page(3, &page(3)).is_err(), "a hole");
    assert!(snapshot.finish().is_err(), "an end too early");
}
