//! A truncated or altered object is never read as a shorter or different one.

use super::*;
use std::io::{self, Seek, SeekFrom};

fn parts() -> Vec<Vec<u8>> {
    vec![sample(90_000), sample(10), sample(70_000)]
}

#[test]
fn every_cut_is_noticed() {
    let key = key();
    let object = seal_parts(&key, &parts(), 40_000);
    let plain = plain_parts(&parts(), 40_000);
    let step = object.len() / 150;
    for cut in (0..object.len()).step_by(step).chain(object.len() - 40..object.len()) {
        for read in open_both(&key, &object[..cut]) {
            assert!(matches!(read, Err(Error::Damaged(_) | Error::NotSealed(_))), "{cut}: {read:?}");
        }
    }
    for cut in (0..plain.len()).step_by(step).chain(plain.len() - 60..plain.len()) {
        for read in open_both_plain(&plain[..cut]) {
            assert!(matches!(read, Err(Error::Damaged(_))), "{cut}");
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed_when_sealed() {
    let key = key();
    let object = seal_parts(&key, &parts(), 40_000);
    let head = 0..250;
    for at in
        head.chain((250..object.len()).step_by(object.len() / 200)).chain(object.len() - 30..object.len())
    {
        let mut altered = object.clone();
        altered[at] ^= 1 << (at % 8);
        for read in open_both(&key, &altered) {
            assert!(read.is_err(), "byte {at}");
        }
    }
}

#[test]
fn a_flipped_bit_never_changes_plain_data() {
    let wanted = open_both_plain(&plain_parts(&parts(), 40_000)).map(Result::unwrap);
    let object = plain_parts(&parts(), 40_000);
    for at in
        (0..object.len()).step_by(object.len() / 400).chain(0..60).chain(object.len() - 150..object.len())
    {
        let mut altered = object.clone();
        altered[at] ^= 1 << (at % 8);
        for (read, wanted) in open_both_plain(&altered).into_iter().zip(&wanted) {
            // zstd has bits that no decoder looks at.
            assert!(read.is_err() || read.as_ref().ok() == Some(wanted), "byte {at}");
        }
    }
}

#[test]
fn what_follows_the_end_is_noticed() {
    let key = key();
    for extra in [&b"x"[..], &[0; 16]] {
        for read in open_both(&key, &[&seal_parts(&key, &parts(), 40_000), extra].concat()) {
            assert!(read.is_err());
        }
        for read in open_both_plain(&[&plain_parts(&parts(), 40_000), extra].concat()) {
            assert!(read.is_err());
        }
    }
    let twice = [plain_parts(&parts(), 40_000), plain_parts(&parts(), 40_000)].concat();
    for read in open_both_plain(&twice) {
        assert!(read.is_err(), "two objects are not one");
    }
}

#[test]
fn a_writer_that_was_dropped_leaves_nothing_readable() {
    let key = key();
    let mut output = Vec::new();
    let mut writer = Sealer::new(&mut output, &key.recipients, options(10)).unwrap();
    writer.data(&sample(200_000)).unwrap();
    drop(writer);
    assert!(!output.is_empty());
    for read in open_both(&key, &output) {
        assert!(matches!(read, Err(Error::Damaged(_))), "{read:?}");
    }
}

#[test]
fn garbage_is_not_sealed() {
    let key = key();
    for text in [&b"SQLite format 3\0and then some more bytes"[..], b"age-encryption.org/v2\n"] {
        let error = Opener::new(text, &key.identities).err().unwrap();
        assert!(matches!(error, Error::NotSealed(_) | Error::Damaged(_)), "{error:?}");
    }
}

/// Fails once after some reads, as a network does.
struct Flaky<R> {
    inner: R,
    reads_left: usize,
}

impl<R: Read> Read for Flaky<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads_left == 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the line is dead"));
        }
        self.reads_left -= 1;
        self.inner.read(buffer)
    }
}

impl<R: Seek> Seek for Flaky<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn p6_a_broken_line_is_not_a_damaged_object() {
    let key = key();
    let object = seal_parts(&key, &parts(), 40_000);
    for reads_left in 0..4 {
        let flaky = Flaky { inner: Cursor::new(object.clone()), reads_left };
        let read = Opener::new(flaky, &key.identities).and_then(read_stream);
        match read {
            Err(error) => assert_eq!(error.class(), Class::Retriable, "{reads_left}: {error}"),
            Ok((data, _)) => assert_eq!(data, parts().concat()),
        }
        let flaky = Flaky { inner: Cursor::new(object.clone()), reads_left };
        match read_seeking(SealedReader::open(flaky, &key.identities)) {
            Err(error) => assert_eq!(error.class(), Class::Retriable, "{reads_left}: {error}"),
            Ok((data, _)) => assert_eq!(data, parts().concat()),
        }
    }
}

#[test]
fn p7_a_header_without_end_is_refused() {
    let header = b"age-encryption.org/v1\n-> X25519 ".iter().copied();
    let endless: Vec<u8> = header.chain(std::iter::repeat_n(b'A', 3 << 20)).collect();
    assert!(Opener::new(endless.as_slice(), &key().identities).is_err());
}
