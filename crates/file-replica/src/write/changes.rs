//! What a tree would lose and what it changed: from two lists to numbers, without I/O.

use super::Settings;
use crate::entry::{Digest, Entry, Time};
use crate::guard::Loss;
use crate::manifest::{Head, Manifest};
use crate::path::RelPath;
use crate::scan::Scan;
use crate::state::State;
use rustix::fs::FileType;
use std::cell::LazyCell;
use std::collections::HashSet;

/// What committing this scan would take away.
pub(super) fn loss(scan: &Scan, state: Option<&State>, before: Option<&Head>, settings: &Settings) -> Loss {
    let files = |f: &&crate::scan::Found| f.look.kind == FileType::RegularFile;
    let files_after = scan.found.iter().filter(files).count() as u64;
    let bytes_after = scan.found.iter().filter(files).map(|f| f.look.size).sum();
    let missing =
        missing(|path| scan.found.binary_search_by(|f| f.path.as_bytes().cmp(path)).is_ok(), settings);
    let mut loss = Loss { files_after, bytes_after, missing, ..Loss::default() };
    match (state, before) {
        (Some(state), _) => {
            // Asked only for what is missing. With the time, because a freed inode is soon another file's.
            let inodes: LazyCell<HashSet<(u64, u64, Time)>, _> = LazyCell::new(|| {
                scan.found.iter().map(|f| (f.look.ino, f.look.size, f.look.mtime)).collect()
            });
            fill(
                &mut loss,
                state,
                settings,
                &scan.mounts,
                |path| scan.found.binary_search_by(|f| f.path.cmp(path)).is_ok(),
                |ino, entry| inodes.contains(&(ino, entry.size(), entry.mtime)),
            );
        }
        // Only numbers are known: what is missing in them is missing in the tree.
        (None, Some(head)) => {
            let after = scan.found.len() as u64;
            loss.parent = head.number;
            loss.entries_before = head.entries;
            loss.files_before = head.entries;
            loss.bytes_before = head.bytes;
            let gone = head.entries.saturating_sub(after);
            loss.vanished =
                (0..gone).map(|i| RelPath::below(None, format!("unknown-{i}").as_bytes())).collect();
        }
        (None, None) => {}
    }
    loss
}

/// The same for entries that were read: what vanished between scan and reading counts too.
pub(super) fn loss_of_draft(entries: &[Entry], state: Option<&State>, settings: &Settings) -> Loss {
    let files_after = entries.iter().filter(|e| e.content().is_some()).count() as u64;
    let missing = missing(|path| entries.binary_search_by(|e| e.path.as_bytes().cmp(path)).is_ok(), settings);
    let bytes_after = entries.iter().map(Entry::size).sum();
    let mut loss = Loss { files_after, bytes_after, missing, ..Loss::default() };
    if let Some(state) = state {
        let contents: HashSet<Digest> =
            entries.iter().filter_map(|e| e.content().map(|c| c.sha256)).collect();
        fill(&mut loss, state, settings, &[], |path| is_in(entries, path), |_, _| false);
        // Renamed: the same bytes are there under another name.
        loss.vanished.retain(|path| {
            !state.manifest.get(path).and_then(Entry::content).is_some_and(|c| contents.contains(&c.sha256))
        });
    }
    loss
}

fn missing(is_there: impl Fn(&[u8]) -> bool, settings: &Settings) -> Vec<String> {
    settings.must_exist.iter().filter(|path| !is_there(path.trim_matches('/').as_bytes())).cloned().collect()
}

fn fill(
    loss: &mut Loss,
    state: &State,
    settings: &Settings,
    mounts: &[RelPath],
    is_there: impl Fn(&RelPath) -> bool,
    is_inode_there: impl Fn(u64, &Entry) -> bool,
) {
    let manifest = &state.manifest;
    let edited = manifest.excludes != settings.filter.digest();
    loss.parent = manifest.number;
    loss.entries_before = manifest.entries.len() as u64;
    loss.files_before = manifest.entries.iter().filter(|e| e.content().is_some()).count() as u64;
    loss.bytes_before = manifest.bytes();
    for (entry, print) in manifest.entries.iter().zip(&state.prints) {
        if is_there(&entry.path) || (print.ino != 0 && is_inode_there(print.ino, entry)) {
            continue;
        }
        // An empty directory is what one mounts over.
        if mounts.iter().any(|mount| entry.path.is_within(mount)) {
            if !entry.is_dir() {
                loss.covered.push(entry.path.clone());
            }
            continue;
        }
        // A filter edit is no deletion, and has its own budget.
        if edited && settings.filter.leaves_out_below(&entry.path, entry.is_dir()) {
            loss.filtered.push(entry.path.clone());
        } else {
            loss.vanished_bytes += entry.size();
            loss.vanished.push(entry.path.clone());
        }
    }
}

/// Whether nothing changed that a restore could tell.
pub(super) fn is_same(old: &Manifest, entries: &[Entry], excludes: Digest) -> bool {
    old.excludes == excludes
        && old.entries.len() == entries.len()
        && old.entries.iter().zip(entries).all(|(a, b)| a.is_same(b))
}

/// Entries of the last snapshot that are not in this one.
pub(super) fn deleted(entries: &[Entry], state: Option<&State>) -> u64 {
    let Some(state) = state else { return 0 };
    state.manifest.entries.iter().filter(|e| !is_in(entries, &e.path)).count() as u64
}

fn is_in(entries: &[Entry], path: &RelPath) -> bool {
    entries.binary_search_by(|e| e.path.cmp(path)).is_ok()
}
