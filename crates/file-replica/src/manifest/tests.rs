use super::*;
use crate::entry::{Content, Time, Xattr};
use proptest::prelude::*;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn entry(at: &str, kind: Kind) -> Entry {
    Entry {
        path: path(at),
        kind,
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime: Time { sec: 5, nsec: 7 },
        xattrs: vec![],
    }
}

fn file(at: &str, size: u64) -> Entry {
    let content = Content {
        size,
        sha256: Digest::of(b"x"),
        object: (size > 0).then_some(0),
        member: None,
        link: None,
        sparse: false,
        unstable: false,
    };
    entry(at, Kind::File(content))
}

fn manifest(entries: Vec<Entry>) -> Manifest {
    Manifest {
        format: FORMAT,
        number: 7,
        lineage: "00000000000000aa".into(),
        epoch: 3,
        write_id: "w".into(),
        parent: 6,
        time: "2026-11-21T05:00:00Z".into(),
        writer: "test".into(),
        origin: None,
        excludes: Digest::of(b""),
        objects: vec![Object { key: "p/w-000.tar.zst".into(), size: 9, sha256: Digest::of(b"p"), raw: 4 }],
        entries,
    }
}

fn back(bytes: &[u8]) -> Result<Manifest> {
    let (head, body) = Head::decode(7, bytes)?;
    Manifest::decode(&head, body, None)
}

#[test]
fn p8_the_head_stands_in_the_clear_on_the_first_line() {
    let (bytes, head) = manifest(vec![file("a", 4)]).encode(&Protection::Plain).unwrap();
    let line = bytes.split(|b| *b == b'\n').next().unwrap();
    let seen: serde_json::Value = serde_json::from_slice(line).unwrap();
    assert_eq!((seen["number"].as_u64(), seen["kind"].as_str()), (Some(7), Some("snapshot")));
    assert_eq!(seen["objects"][0]["key"], "p/w-000.tar.zst");
    assert_eq!(head.bytes, 4);
}

#[test]
fn p2_damage_in_head_or_body_is_noticed() {
    let (bytes, _) = manifest(vec![file("a", 4)]).encode(&Protection::Plain).unwrap();
    assert!(back(&bytes).is_ok());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(back(&damaged).is_err(), "byte {at}");
    }
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(back(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn hostile_trees_are_refused() {
    let link = Kind::Symlink { target: b"/etc".to_vec() };
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("file below a link", vec![entry("a", link), file("a/passwd", 4)]),
        ("file below a file", vec![file("a", 4), file("a/b", 4)]),
        ("no parent", vec![file("a/b", 4)]),
        ("twice", vec![file("a", 4), file("a", 4)]),
        ("out of order", vec![file("b", 4), file("a", 4)]),
        (
            "unknown object",
            vec![{
                let mut e = file("a", 4);
                if let Kind::File(c) = &mut e.kind {
                    c.object = Some(1);
                }
                e
            }],
        ),
    ];
    for (name, entries) in cases {
        let (bytes, _) = manifest(entries).encode(&Protection::Plain).unwrap();
        let error = back(&bytes).unwrap_err();
        assert_eq!(error.class(), crate::Class::Damaged, "{name}: {error}");
    }
}

#[test]
fn a_head_that_refers_outside_is_refused() {
    let mut odd = manifest(vec![]);
    odd.objects[0].key = "../other/p/x".into();
    let (bytes, _) = odd.encode(&Protection::Plain).unwrap();
    assert!(Head::decode(7, &bytes).is_err());
    let (bytes, _) = manifest(vec![]).encode(&Protection::Plain).unwrap();
    assert!(Head::decode(8, &bytes).is_err(), "a copy under another number");
}

proptest! {
    #[test]
    fn every_tree_survives(
        names in proptest::collection::btree_set(proptest::collection::vec(1u8..=255, 1..12), 0..20),
        sec in any::<i32>(), nsec in 0u32..1_000_000_000, mode in 0u32..0o10000,
        value in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut entries = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let Ok(at) = RelPath::new(name.clone()) else { continue };
            if at.parent().is_some() { continue; }
            let mut e = file("x", i as u64);
            e.path = at;
            e.mode = mode;
            e.mtime = Time { sec: i64::from(sec), nsec };
            e.xattrs = vec![Xattr { name: b"user.k".to_vec(), value: value.clone() }];
            if i % 3 == 1 { e.kind = Kind::Symlink { target: value.clone() }; }
            if i % 3 == 2 { e.kind = Kind::Dir; }
            entries.push(e);
        }
        let tree = manifest(entries);
        let (bytes, _) = tree.encode(&Protection::Plain).unwrap();
        prop_assert_eq!(back(&bytes).unwrap(), tree);
    }
}
