//! The digest of everything a restore gives back, to compare trees in tests.

use crate::filter::Filter;
use crate::read;
use crate::scan::Scanner;
use rustix::fs::FileType;
use std::path::Path;

/// One line per entry.
pub(crate) fn fold(root: &Path) -> Vec<String> {
    let filter = Filter::new(&[]).expect("no pattern");
    let scan =
        Scanner::new(root).scan(&filter, crate::Time::default(), &mut |_| {}).expect("a readable tree");
    scan.found
        .iter()
        .map(|f| {
            let l = &f.look;
            let what = match l.kind {
                FileType::RegularFile => {
                    let bytes = std::fs::read(root.join(f.path.as_path())).expect("readable");
                    format!("{:?} {}", crate::Digest::of(&bytes), l.nlink)
                }
                FileType::Symlink => format!("{:?}", std::fs::read_link(root.join(f.path.as_path()))),
                _ => String::new(),
            };
            let mtime = if l.kind == FileType::Directory { String::new() } else { l.mtime.text() };
            let xattrs = read::xattrs(root, &f.path).expect("readable");
            format!("{} {:?} {:o} {} {} {mtime} {what} {xattrs:?}", f.path, l.kind, l.mode, l.uid, l.gid)
        })
        .collect()
}
