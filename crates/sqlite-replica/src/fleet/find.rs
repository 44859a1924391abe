//! One search without a fleet: what an entry of a description finds on the volume now, and what the volume remembers of it.

use crate::error::Error;
use crate::fleet::config::{Found, pattern};
use crate::fleet::tree::{Searcher, Tree};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The state of a replica of files lies beside those of databases.
const OF_FILES: &str = "files-replica";

/// An entry whose pattern can be read.
#[derive(Debug)]
pub struct Selection<'a> {
    found: &'a Found,
    glob: Option<globset::GlobMatcher>,
}

impl Found {
    /// Reads the pattern; says what is wrong with one that is none.
    pub fn selection(&self) -> Result<Selection<'_>, String> {
        Ok(Selection { found: self, glob: self.pattern.as_deref().map(pattern).transpose()? })
    }
}

impl Selection<'_> {
    /// Names of the databases that are there, relative to the root, and of those that left a state behind and are gone. What cannot be
    /// searched is an error: it does not mean that nothing is there (P6).
    pub fn names(&self, now_ms: i64) -> Result<BTreeSet<String>, Error> {
        let root = &self.found.root;
        let tree = Tree { base: self.found.base(), root: root.clone(), pattern: self.glob.clone() };
        let found = Searcher::new(tree).search(now_ms);
        if let Some(error) = found.troubles.into_iter().next() {
            return Err(error);
        }
        let mut names: BTreeSet<String> = found.databases.into_iter().map(|(name, _)| name).collect();
        for directory in &found.directories {
            let Ok(states) = fs::read_dir(directory.join(".highwater")) else { continue };
            let Ok(relative) = directory.strip_prefix(root) else { continue };
            for state in states.flatten().filter(is_state) {
                names.extend(
                    relative.join(state.file_name()).to_str().filter(|n| self.wants(n)).map(str::to_owned),
                );
            }
        }
        Ok(names)
    }

    /// Whether a database of this name belongs to the entry.
    pub fn wants(&self, name: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(name),
            None => Path::new(name).starts_with(&self.found.directory),
        }
    }
}

/// A streamer has written here once: an empty state is left by whoever only looked.
fn is_state(entry: &fs::DirEntry) -> bool {
    entry.file_name() != OF_FILES
        && fs::metadata(entry.path().join("state")).is_ok_and(|state| state.len() > 0)
}
