//! The last committed tree as this volume knows it: what a scan is compared with.
//!
//! It holds the whole manifest, because a writer that has only public keys cannot read the one in the store, and a fingerprint
//! per entry: inode and change time, which no program can set back. A fingerprint whose times are not clearly older than the scan
//! that took it is *suspect* (git's racy index): two writes within one tick look equal, so the content is compared once more.
//! Losing the state costs one reading of the tree; with sealed replicas also one full upload.

use crate::entry::{Digest, Entry, Time};
use crate::home::Home;
use crate::layout::Seq;
use crate::manifest::{Head, Manifest, Object};
use crate::path::RelPath;
use crate::scan::Look;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Times this close to the scan cannot be told from a later write (jiffies before Linux 6.13; NFS and FAT are coarser).
pub(crate) const SLACK_LOCAL_MS: i64 = 20;
/// The same where other machines stamp the files.
pub(crate) const SLACK_NETWORK_MS: i64 = 2_500;

/// What a file looked like when its content was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Print {
    pub(crate) ino: u64,
    pub(crate) ctime: Time,
    /// Changed so close to the look that a second change might look the same.
    pub(crate) suspect: bool,
}

impl Print {
    pub(crate) fn of(look: &Look, began: Time, slack_ms: i64) -> Print {
        let edge = began.minus_ms(slack_ms);
        Print { ino: look.ino, ctime: look.ctime, suspect: look.mtime >= edge || look.ctime >= edge }
    }
}

/// What is known of a commit without asking the store again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) manifest: Manifest,
    /// One per entry of the manifest.
    pub(crate) prints: Vec<Print>,
    /// Highest number this writer took or saw: the next commit is one more.
    pub(crate) last_number: Seq,
    /// Heads of the snapshots that are there, so that retention reads none of them.
    pub(crate) heads: BTreeMap<Seq, Head>,
}

const STATE: &str = "state";
const NEXT: &str = "next";

impl State {
    pub(crate) fn load(home: &Home) -> Result<Option<State>> {
        Self::read(home, STATE)
    }

    /// The state a commit under way would have led to.
    pub(crate) fn load_next(home: &Home) -> Result<Option<State>> {
        Self::read(home, NEXT)
    }

    fn read(home: &Home, name: &str) -> Result<Option<State>> {
        let state: Option<State> = home.document(name)?;
        Ok(state.filter(|s| s.prints.len() == s.manifest.entries.len()))
    }

    pub(crate) fn save(&self, home: &Home) -> Result<()> {
        home.set_document(STATE, self)
    }

    pub(crate) fn save_next(&self, home: &Home) -> Result<()> {
        home.set_document(NEXT, self)
    }

    pub(crate) fn promote(home: &Home) -> Result<()> {
        home.rename(NEXT, STATE)
    }

    /// The tree is not what this state says any more.
    pub(crate) fn forget(home: &Home) -> Result<()> {
        home.remove(STATE)
    }

    pub(crate) fn discard_next(home: &Home) -> Result<()> {
        home.remove(NEXT)
    }

    /// Entries by path.
    pub(crate) fn by_path(&self) -> HashMap<&RelPath, (&Entry, &Print)> {
        self.manifest.entries.iter().zip(&self.prints).map(|(e, p)| (&e.path, (e, p))).collect()
    }

    /// Where bytes with this digest are stored already: object and name inside it.
    pub(crate) fn by_digest(&self) -> HashMap<Digest, (u32, RelPath)> {
        let files = self.manifest.entries.iter().filter_map(|e| Some((e, e.content()?)));
        files
            .filter_map(|(e, c)| {
                Some((c.sha256, (c.object?, c.member.clone().unwrap_or_else(|| e.path.clone()))))
            })
            .collect()
    }

    /// Objects of the newest snapshot.
    pub(crate) fn objects(&self) -> &[Object] {
        &self.manifest.objects
    }
}

/// Fails when the documents disagree; the caller then treats the state as lost.
pub(crate) fn fits(state: &State, lineage: &str) -> Result<()> {
    if state.manifest.lineage == lineage {
        return Ok(());
    }
    Err(Error::refused(
        "the state of this volume is of another history",
        "remove .highwater/files-replica/state",
    ))
}
