//! What is in the tree already: what stays, what is moved aside, what is somebody else's.
//!
//! P3: nothing is overwritten or removed; what has to go is renamed below `set-aside/`, also what the scan left out because a pattern says
//! so. Databases are never moved and never written over, whatever a snapshot says about their names. Every path is reached
//! without following a link.

use super::plan::RestorePlan;
use super::same::is_in_place;
use super::tree::{reach, reach_parent};
use crate::entry::Entry;
use crate::filter::Filter;
use crate::home::Home;
use crate::path::RelPath;
use crate::scan::{Look, is_database, look_at};
use crate::{Error, Result};
use rustix::fs::{AtFlags, FileType};
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The tree as it is, beside a plan.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Files that are exactly as they must be.
    pub(super) keep: HashSet<RelPath>,
    /// What has to go, parents before children.
    pub(super) aside: Vec<RelPath>,
    /// Entries that are not written, because a database has their name or will have it.
    pub(super) leave: HashSet<RelPath>,
}

/// Sorts everything out: all else of a whole tree has to go, of a part only what is in the way.
pub(super) fn sort_out(
    plan: &RestorePlan,
    target: &Path,
    there: &[(RelPath, Look)],
    filter: &Filter,
) -> Result<Sorted> {
    let wanted: HashMap<&RelPath, &Entry> = plan.entries().map(|e| (&e.path, e)).collect();
    let mut sorted = Sorted::default();
    for (path, look) in there {
        let stays = match wanted.get(path) {
            Some(entry) => is_in_place(entry, look, target)?,
            None => !plan.whole,
        };
        match (stays, look.kind) {
            // A directory that does not belong goes when it is empty; see `move_aside`.
            (false, FileType::Directory) if !wanted.contains_key(path) => {
                if plan.whole {
                    sorted.aside.push(path.clone());
                }
            }
            (false, _) => sorted.aside.push(path.clone()),
            (true, FileType::RegularFile) if wanted.contains_key(path) => {
                sorted.keep.insert(path.clone());
            }
            (true, _) => {}
        }
    }
    let scanned: HashSet<&RelPath> = there.iter().map(|(path, _)| path).collect();
    // Entries of one directory follow each other.
    let mut last: Option<(RelPath, Option<OwnedFd>)> = None;
    for entry in plan.entries().filter(|e| !scanned.contains(&e.path)) {
        if filter.is_anothers(&entry.path) {
            sorted.leave.insert(entry.path.clone());
            continue;
        }
        let dir = match last.take() {
            Some((path, dir)) if path.parent_bytes() == entry.path.parent_bytes() => dir,
            _ => reach_parent(target, &entry.path)?,
        };
        let (_, dir) = last.insert((entry.path.clone(), dir));
        let Some(dir) = dir else { continue };
        let Some(look) = look_at(dir, entry.path.name(), target)? else { continue };
        let is_file = look.kind == FileType::RegularFile;
        if is_file && is_database(dir, entry.path.name()) {
            tracing::warn!(path = %entry.path, "a database is there, and the snapshot has a file of that name: it is left alone");
            sorted.leave.insert(entry.path.clone());
        } else if look.kind != FileType::Directory {
            sorted.aside.push(entry.path.clone());
        }
    }
    sorted.aside.sort_unstable();
    Ok(sorted)
}

/// Renames what has to go below `set-aside/`; directories that are left empty are removed.
pub(super) fn move_aside(home: &Home, target: &Path, name: &str, aside: &[RelPath]) -> Result<u64> {
    let base = home.set_aside(name);
    let mut moved = 0;
    for path in aside {
        let Some((dir, look)) = reach(target, path)? else { continue };
        if look.kind == FileType::Directory {
            continue;
        }
        let to = base.join(path.as_path());
        let parent = to.parent().unwrap_or(&base);
        std::fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
        rustix::fs::renameat(&dir, path.name(), rustix::fs::CWD, &to)
            .map_err(Error::sys(&target.join(path.as_path()), "move aside"))?;
        moved += 1;
    }
    for path in aside.iter().rev() {
        if let Some((dir, Look { kind: FileType::Directory, .. })) = reach(target, path)? {
            // Fails where a database or something excluded lives in it, as it should.
            let _ = rustix::fs::unlinkat(&dir, path.name(), AtFlags::REMOVEDIR);
        }
    }
    Ok(moved)
}
