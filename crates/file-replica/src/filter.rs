//! What is left out of a tree: gitignore patterns of the user, and what can never be meant.
//!
//! The built-in part: our own `.highwater`, `lost+found`, NFS's `.nfs*`, litestream's directories, caches that say so
//! (CACHEDIR.TAG), mounted ConfigMaps and Secrets (`..data`). SQLite databases are found by their header, not their name, in
//! [`crate::scan`]. The digest of the patterns is part of every snapshot: what a filter edit takes away was not deleted.

use crate::entry::Digest;
use crate::path::RelPath;
use crate::{Error, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::path::Path;

/// Directory of our own files inside a tree.
pub(crate) const OWN_DIR: &str = ".highwater";

/// Patterns, compiled.
#[derive(Debug, Clone)]
pub struct Filter {
    patterns: Gitignore,
    digest: Digest,
    /// Databases that somebody else brings into place.
    anothers: Vec<RelPath>,
}

/// What belongs to a database beside its own name.
const BESIDE: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];
/// What a restore of a database calls its unfinished files begins with this.
const UNFINISHED: &[u8] = b".restored";

impl Filter {
    /// From gitignore lines; `!` re-includes, a trailing `/` means directories, `@name` is a preset.
    pub fn new(patterns: &[String]) -> Result<Filter> {
        let patterns = crate::presets::expand(patterns)?;
        let mut builder = GitignoreBuilder::new("");
        for pattern in &patterns {
            builder
                .add_line(None, pattern)
                .map_err(|e| Error::Usage(format!("exclude {pattern:?}: {e} (gitignore syntax)")))?;
        }
        let compiled = builder.build().map_err(|e| Error::Usage(format!("exclude: {e}")))?;
        Ok(Filter {
            patterns: compiled,
            digest: Digest::of(patterns.join("\n").as_bytes()),
            anothers: Vec::new(),
        })
    }

    /// The same, and databases of the tree that somebody else brings into place at the same moment: until they are there, no header
    /// tells what they are.
    pub fn beside(mut self, databases: Vec<RelPath>) -> Filter {
        self.anothers = databases;
        self
    }

    /// Whether a path is a database that somebody else brings into place, or belongs to one.
    pub(crate) fn is_anothers(&self, path: &RelPath) -> bool {
        self.anothers.iter().any(|database| match path.as_bytes().strip_prefix(database.as_bytes()) {
            Some(rest) => rest.is_empty() || BESIDE.contains(&rest) || rest.starts_with(UNFINISHED),
            None => false,
        })
    }

    /// Identifies the patterns.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether a name is left out; what is below a directory that is left out is not even looked at.
    pub(crate) fn leaves_out(&self, path: &RelPath, is_dir: bool) -> bool {
        let name = path.name();
        name == OWN_DIR.as_bytes()
            || (is_dir
                && (name == b"lost+found" || (name.starts_with(b".") && name.ends_with(b"-litestream"))))
            || name.starts_with(b".nfs0")
            || self.is_anothers(path)
            || self.patterns.matched(Path::new(path.as_path()), is_dir).is_ignore()
    }

    /// Whether the patterns leave out a path that was found before, by itself or by one of its directories.
    pub(crate) fn leaves_out_below(&self, path: &RelPath, is_dir: bool) -> bool {
        self.leaves_out(path, is_dir)
            || std::iter::successors(path.parent(), RelPath::parent)
                .any(|parent| self.leaves_out(&parent, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> Filter {
        Filter::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn patterns_are_gitignores() {
        let filter = filter(&["*.log", "cache/", "!keep.log", "/top", "a/**/z"]);
        for (path, is_dir, out) in [
            ("x.log", false, true),
            ("d/x.log", false, true),
            ("keep.log", false, false),
            ("cache", true, true),
            ("cache", false, false),
            ("d/cache", true, true),
            ("top", false, true),
            ("d/top", false, false),
            ("a/b/c/z", false, true),
            (".highwater", true, true),
            ("d/.highwater", true, true),
            ("lost+found", true, true),
            (".db.sqlite3-litestream", true, true),
            (".nfs000000000001", false, true),
            ("plain.yaml", false, false),
        ] {
            assert_eq!(filter.leaves_out(&RelPath::new(path).unwrap(), is_dir), out, "{path}");
        }
        assert!(filter.leaves_out_below(&RelPath::new("cache/x/y").unwrap(), false));
        assert!(!filter.leaves_out_below(&RelPath::new("other/x/y").unwrap(), false));
    }

    #[test]
    fn p3_a_database_that_another_restores_is_left_out_with_everything_beside_it() {
        let filter = filter(&[]).beside(vec![RelPath::new("d/app.db").unwrap()]);
        let out = |path: &str| filter.leaves_out(&RelPath::new(path).unwrap(), false);
        for path in [
            "d/app.db",
            "d/app.db-wal",
            "d/app.db-journal",
            "d/app.db.restored",
            "d/app.db.restored.restoring",
        ] {
            assert!(out(path), "{path}");
        }
        for path in ["app.db", "d/app.db.bak", "d/app.dbx", "d/app.db-notes"] {
            assert!(!out(path), "{path}");
        }
    }

    #[test]
    fn an_unreadable_pattern_is_an_error() {
        let error = Filter::new(&["[z-a]".to_owned()]).unwrap_err();
        assert_eq!(error.class(), crate::Class::Usage);
    }
}
