//! What a look could not read as it is: it keeps its last good version, is counted, is named once, and never counts as gone (P3).
//!
//! Two kinds: files that change while they are read, which the next look may catch, and files that may not be read or that the disk does
//! not give, where looking again soon helps nobody. What was never stored before is left out and counted all the same.

use super::Drafter;
use crate::entry::{Entry, Kind, Xattr};
use crate::path::RelPath;
use crate::read;
use crate::scan::Found;
use crate::state::Print;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::io;

/// Paths that one look had trouble with.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    changing: BTreeSet<RelPath>,
    unreadable: BTreeSet<RelPath>,
}

impl Troubles {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.changing.union(&self.unreadable).count() as u64
    }

    /// How many of them may not be read, or cannot be.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.len() as u64
    }

    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.changing.contains(path) || self.unreadable.contains(path)
    }
}

impl Drafter {
    pub(super) fn changes(&mut self, path: &RelPath, kept: bool) {
        if !self.told.changing.contains(path) {
            tracing::warn!(%path, kept, "changes while it is read; its last good version stays");
        }
        self.troubles.changing.insert(path.clone());
    }

    pub(super) fn unreadable(&mut self, path: &RelPath, error: &io::Error, kept: bool) {
        if !self.told.unreadable.contains(path) && !self.troubles.unreadable.contains(path) {
            tracing::warn!(%path, %error, kept, "cannot be read; its last good version stays, if it has one");
        }
        self.troubles.unreadable.insert(path.clone());
    }

    /// A link whose target was not given: gone, or kept as it was.
    pub(super) fn lost_link(
        &mut self,
        found: &Found,
        before: Option<(&Entry, &Print)>,
        error: io::Error,
    ) -> Result<Option<Kind>> {
        // The system says "invalid" where something else has taken the link's place.
        if !read::is_of_one_file(&error) {
            self.gone += 1;
            return Ok(None);
        }
        let old = before.map(|(entry, _)| &entry.kind).filter(|kind| matches!(kind, Kind::Symlink { .. }));
        self.unreadable(&found.path, &error, old.is_some());
        Ok(old.cloned())
    }

    /// Extended attributes; `None` if they cannot be read.
    pub(super) fn attributes(&mut self, path: &RelPath) -> Result<Option<Vec<Xattr>>> {
        match read::xattrs(&self.settings.root, path) {
            Ok(found) => Ok(Some(found)),
            Err(Error::Io { source, .. }) if read::is_of_one_file(&source) => {
                self.unreadable(path, &source, true);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
