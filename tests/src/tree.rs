//! A tree with everything that a tree can have, and what a tree is: the yardstick of the tests of files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    /// Of the type and the rights, as `stat` gives it.
    pub mode: u32,
    /// Whose it is.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds; of a directory nothing, because writing into it changes it.
    pub modified: (i64, i64),
    /// The bytes of a file, the target of a link.
    pub content: Vec<u8>,
}

/// Everything in a tree but what Highwater keeps there.
pub fn things(root: &Path) -> BTreeMap<PathBuf, Thing> {
    let mut found = BTreeMap::new();
    collect(root, Path::new(""), &mut found);
    found
}

/// What a mirror has a form for: files as they are, links by their target.
pub fn mirrored(root: &Path) -> BTreeMap<PathBuf, Thing> {
    let mut found = things(root);
    found.retain(|_, thing| thing.mode & 0o170_000 != 0o040_000);
    for thing in found.values_mut().filter(|thing| thing.mode & 0o170_000 == 0o120_000) {
        thing.modified = (0, 0);
    }
    found
}

/// Panics at the first thing that is not the same in both, and names it.
#[track_caller]
pub fn assert_same(got: &BTreeMap<PathBuf, Thing>, wanted: &BTreeMap<PathBuf, Thing>) {
    for path in got.keys().chain(wanted.keys()) {
        let short = |things: &BTreeMap<PathBuf, Thing>| {
            let thing = things.get(path)?.clone();
            Some((
                thing.content.len(),
                Thing { content: thing.content.into_iter().take(40).collect(), ..thing },
            ))
        };
        assert!(got.get(path) == wanted.get(path), "{path:?}: {:?}, not {:?}", short(got), short(wanted));
    }
}

fn collect(root: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Thing>) {
    let listed = fs::read_dir(root.join(below)).expect("a tree can be listed");
    for entry in listed.map(|entry| entry.expect("a tree can be listed")) {
        let (path, at) = (below.join(entry.file_name()), entry.path());
        if path == Path::new(".highwater") {
            continue;
        }
        let is = fs::symlink_metadata(&at).expect("it is there");
        let content = match is.file_type() {
            kind if kind.is_symlink() => {
                fs::read_link(&at).expect("a link").into_os_string().as_bytes().to_vec()
            }
            kind if kind.is_file() => fs::read(&at).expect("a file"),
            _ => Vec::new(),
        };
        let modified = if is.is_dir() { (0, 0) } else { (is.mtime(), is.mtime_nsec()) };
        if is.is_dir() {
            collect(root, &path, found);
        }
        found.insert(path, Thing { mode: is.mode(), owner: (is.uid(), is.gid()), modified, content });
    }
}

/// Makes such a tree: small and big files, an empty one, names that are not ASCII, rights, times, links.
pub fn plant(root: &Path) {
    let write = |name: &OsStr, bytes: &[u8]| {
        let at = root.join(name);
        fs::create_dir_all(at.parent().expect("it lies in the tree")).expect("a scratch directory");
        fs::write(&at, bytes).expect("a scratch file");
        let file = File::options().write(true).open(at).expect("a scratch file");
        let age = Duration::from_nanos(1_600_000_000_123_456_789 + bytes.len() as u64);
        file.set_modified(UNIX_EPOCH + age).expect("a time can be set");
    };
    for i in 0..60 {
        write(
            OsStr::new(&format!("conf.d/{}/f{i}.yaml", i % 7)),
            format!("value: {i}\n").repeat(i).as_bytes(),
        );
    }
    let big: Vec<u8> = (0..6_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write(OsStr::new("deep/er/big.bin"), &big);
    write(OsStr::new("caf\u{e9} + x & y %41.txt"), b"strange");
    write(OsStr::new("run.sh"), b"#!/bin/sh\n");
    for (name, mode) in [("run.sh", 0o750), ("conf.d/1/f1.yaml", 0o600), ("deep", 0o2770)] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).expect("rights can be set");
    }
    let _ = std::os::unix::fs::chown(root.join("conf.d/2/f2.yaml"), Some(1234), Some(5678)); // where we may
    symlink("conf.d/1/f1.yaml", root.join("current")).expect("a link");
    symlink("../../nowhere", root.join("deep/dangling")).expect("a link");
}

/// A name that no mirror of rclone can hold, because it is not UTF-8.
pub fn plant_bytes(root: &Path) {
    fs::write(root.join(OsStr::from_bytes(b"caf\xe9\n.ini")), "x").expect("a scratch file");
}
