//! What is common to all entries of a draft: names of one inode, nothing below what is no directory, only objects that are needed.

use crate::entry::{Entry, Kind};
use crate::manifest::Object;
use crate::scan::Found;
use crate::state::Print;
use rustix::fs::FileType;
use std::collections::{HashMap, HashSet};

/// Numbers for inodes with more than one name in the tree.
pub(super) fn link_numbers(found: &[Found]) -> HashMap<u64, u32> {
    let mut names: HashMap<u64, u32> = HashMap::new();
    let files = || found.iter().filter(|f| f.look.kind == FileType::RegularFile && f.look.nlink > 1);
    files().for_each(|f| *names.entry(f.look.ino).or_default() += 1);
    let mut numbers = HashMap::new();
    for f in files().filter(|f| names[&f.look.ino] > 1) {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        numbers.entry(f.look.ino).or_insert(next);
    }
    numbers
}

/// Takes away what lies below something that is no directory any more.
pub(super) fn drop_orphans(entries: &mut Vec<Entry>, prints: &mut Vec<Print>) {
    let dirs: HashSet<&[u8]> = entries.iter().filter(|e| e.is_dir()).map(|e| e.path.as_bytes()).collect();
    let keep: Vec<bool> =
        entries.iter().map(|e| e.path.parent_bytes().is_none_or(|p| dirs.contains(p))).collect();
    let mut at = keep.iter();
    entries.retain(|_| *at.next().expect("one per entry"));
    let mut at = keep.iter();
    prints.retain(|_| *at.next().expect("one per entry"));
}

/// Objects that are referred to, and the entries renumbered to them.
pub(super) fn used_objects(entries: &mut [Entry], objects: &[Object]) -> Vec<Object> {
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut used = Vec::new();
    for entry in entries {
        let Kind::File(content) = &mut entry.kind else { continue };
        let Some(object) = &mut content.object else { continue };
        *object = *numbers.entry(*object).or_insert_with(|| {
            used.push(objects[*object as usize].clone());
            u32::try_from(used.len() - 1).expect("fewer objects than files")
        });
    }
    used
}
