//! Finding databases below a directory, and finding new ones while running.
//!
//! A file is a database by its header, never by its name. `-wal`, `-shm` and `-journal` files, restores that are not finished and
//! everything in `.highwater` are never taken for one; symbolic links are not followed (the file is found under its own name or can be named). Nothing that
//! this process is attached to is opened (trap 7).
//!
//! A search costs one `stat` per known directory: the entries of one are read again only if it changed, or if something in it
//! was undecided (an empty file, a change so young that the next would carry the same time). Every [`ALL_AGAIN`]th search reads
//! everything, for files that became databases without a change of their directory. What cannot be read is told, and never
//! means that something is gone (P6).

use crate::error::Error;
use sqlite_tail::{Kind, recognise};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Deepest directory below the base of a tree.
const DEEPEST: u32 = 16;
/// Every so many searches all entries are read again.
const ALL_AGAIN: u64 = 60;
/// A change younger than this may be followed by another one with the same time.
const YOUNG_MS: i64 = 2_000;

/// What belongs to a tree.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// Where the search begins.
    pub(crate) base: PathBuf,
    /// Names, and what the pattern is compared with, are relative to it.
    pub(crate) root: PathBuf,
    /// Which of the files below `base`; all without one.
    pub(crate) pattern: Option<globset::GlobMatcher>,
}

/// What a search found out.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Files that are databases, with their names relative to the root.
    pub(crate) databases: Vec<(String, PathBuf)>,
    /// Every directory that was searched, for hints.
    pub(crate) directories: Vec<PathBuf>,
    /// What could not be searched.
    pub(crate) troubles: Vec<Error>,
}

/// Remembers what is known of a tree from search to search.
#[derive(Debug)]
pub(crate) struct Searcher {
    tree: Tree,
    known: HashMap<PathBuf, Directory>,
    searches: u64,
}

/// A directory as it was last read.
#[derive(Debug, Clone, Default)]
struct Directory {
    changed: (i64, i64),
    undecided: bool,
    below: Vec<PathBuf>,
    databases: Vec<PathBuf>,
}

impl Tree {
    fn name(&self, path: &Path) -> Option<String> {
        Some(path.strip_prefix(&self.root).ok()?.to_str()?.to_owned())
    }

    fn wants(&self, path: &Path) -> bool {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(relative))
    }
}

impl Searcher {
    pub(crate) fn new(tree: Tree) -> Searcher {
        Searcher { tree, known: HashMap::new(), searches: 0 }
    }

    /// Everything that is there now.
    pub(crate) fn search(&mut self, now_ms: i64) -> Found {
        let all = self.searches.is_multiple_of(ALL_AGAIN);
        self.searches += 1;
        let mut found = Found::default();
        let mut known = HashMap::with_capacity(self.known.len());
        let mut open = vec![(self.tree.base.clone(), 0)];
        while let Some((path, depth)) = open.pop() {
            let before = self.known.remove(&path);
            let directory = match self.visit(&path, before, all, now_ms) {
                Ok(Some(directory)) => directory,
                Ok(None) => continue,
                Err(error) => {
                    found.troubles.push(error);
                    continue;
                }
            };
            if depth < DEEPEST {
                open.extend(directory.below.iter().map(|below| (below.clone(), depth + 1)));
            }
            for database in &directory.databases {
                match self.tree.name(database) {
                    Some(name) => found.databases.push((name, database.clone())),
                    None => found.troubles.push(Error::Refused {
                        what: format!("{} has a name that is not UTF-8", database.display()),
                        hint: "rename it, or keep it out of the pattern".into(),
                    }),
                }
            }
            found.directories.push(path.clone());
            known.insert(path, directory);
        }
        self.known = known;
        found.databases.sort();
        found
    }

    /// The directory as it is now; `None` if there is none.
    fn visit(
        &self,
        path: &Path,
        before: Option<Directory>,
        all: bool,
        now_ms: i64,
    ) -> Result<Option<Directory>, Error> {
        let meta = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => meta,
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, "look at")(e)),
        };
        let changed = (meta.mtime(), meta.mtime_nsec());
        if let Some(before) = before.filter(|b| !all && !b.undecided && b.changed == changed) {
            return Ok(Some(before));
        }
        let young = now_ms - (changed.0 * 1000 + changed.1 / 1_000_000) < YOUNG_MS;
        let mut directory = Directory { changed, undecided: young, ..Directory::default() };
        for entry in fs::read_dir(path).map_err(Error::io(path, "list"))? {
            let entry = entry.map_err(Error::io(path, "list"))?;
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                if entry.file_name() != ".highwater" {
                    directory.below.push(path);
                }
            } else if kind.is_file() && !is_beside(&entry.file_name()) && self.tree.wants(&path) {
                match look(&path) {
                    Some(true) => directory.databases.push(path),
                    Some(false) => {}
                    None => directory.undecided = true,
                }
            }
        }
        directory.below.sort();
        Ok(Some(directory))
    }
}

/// Whether SQLite keeps such files beside a database, or a restore that is under way.
fn is_beside(name: &OsStr) -> bool {
    let name = name.as_bytes();
    [&b"-wal"[..], b"-shm", b"-journal", b".restoring"].iter().any(|suffix| name.ends_with(suffix))
}

/// Whether a file is a database; `None` if that is not decided yet.
fn look(path: &Path) -> Option<bool> {
    // The size says it for most files: a database has whole pages of at least 512 bytes.
    match fs::metadata(path) {
        Ok(meta) if meta.len() == 0 => return None,
        Ok(meta) if !meta.len().is_multiple_of(512) => return Some(false),
        Ok(_) => {}
        Err(_) => return None,
    }
    match recognise(path) {
        Ok(Kind::Wal | Kind::Rollback | Kind::Attached) => Some(true),
        Ok(Kind::Empty) => None,
        Ok(Kind::Encrypted | Kind::Other) => Some(false),
        // Gone again, or not to be read: the next search decides.
        Err(_) => None,
    }
}

#[cfg(test)]
#[path = "tree/tests.rs"]
mod tests;
