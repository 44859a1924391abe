//! The clear part: found without a key, ignored by everyone who opens the object.

use super::by_hand::{have, shell};
use super::*;
use std::fs;
use tempfile::TempDir;

fn part() -> ClearPart {
    let words = ["1", "4096", "0000000000000001-000000000000002a"];
    ClearPart::new("example.org/clear", words.map(str::to_owned).to_vec()).unwrap()
}

fn sealed(key: &Key) -> Vec<u8> {
    let writer = Sealer::with_clear(Vec::new(), &part(), &key.recipients, options(1_000)).unwrap();
    write_parts(writer, &[sample(5_000)])
}

#[test]
fn it_is_read_without_a_key_and_ignored_with_one() {
    let key = key();
    // Several times: age adds random stanzas now and then.
    for _ in 0..20 {
        let object = sealed(&key);
        let head = &object[..CLEAR_BYTES.min(object.len())];
        assert!(is_sealed(head));
        assert_eq!(ClearPart::read(head, "example.org/clear").unwrap(), Some(part()));
        assert_eq!(ClearPart::read(head, "example.org/other").unwrap(), None);
        for opened in open_both(&key, &object) {
            assert_eq!(opened.unwrap().0, sample(5_000));
        }
    }
}

#[test]
fn who_opens_the_object_notices_a_changed_clear_part() {
    let key = key();
    let mut object = sealed(&key);
    let at = object.windows(4).position(|window| window == b"4096").unwrap();
    object[at] = b'8';
    let read = ClearPart::read(&object[..CLEAR_BYTES], "example.org/clear").unwrap();
    assert_ne!(read, Some(part()), "without a key nobody can tell");
    for opened in open_both(&key, &object) {
        assert_eq!(opened.unwrap_err().class(), Class::Fatal);
    }
}

#[test]
fn what_is_not_sealed_or_cut_off_is_an_error() {
    let object = sealed(&key());
    assert!(ClearPart::read(b"LTX1 and so on", "example.org/clear").is_err());
    assert!(ClearPart::read(&object[..30], "example.org/clear").is_err());
    assert!(ClearPart::new("two words", Vec::new()).is_err());
    assert!(ClearPart::new("kind", vec![String::new()]).is_err());
    assert!(ClearPart::new("kind", vec!["x".repeat(500)]).is_err());
}

#[test]
fn p8_age_opens_an_object_with_a_clear_part() {
    if !have(&["age", "zstd"]) {
        return;
    }
    let key = key();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("id.txt"), &key.secret).unwrap();
    fs::write(dir.path().join("object.age"), sealed(&key)).unwrap();
    assert_eq!(shell(dir.path(), "age -d -i id.txt object.age | zstd -d -q"), sample(5_000));
}
