//! The last committed tree as this volume knows it: what a scan is compared with.
//!
//! It holds the whole manifest, because a writer that has only public keys cannot read the one in the store, and a fingerprint
//! per entry: inode and change time, which no program can set back. A fingerprint whose times are not clearly older than the scan
//! that took it is *suspect* (git's racy index): two writes within one tick look equal, so the content is compared once more.
//! Losing the state costs one reading of the tree; with sealed replicas also one full upload.

use crate::entry::{Content, Digest, Entry, Time};
use crate::home::Home;
use crate::layout::Seq;
use crate::manifest::{Head, Manifest, Object};
use crate::path::RelPath;
use crate::scan::Look;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

    /// What is known of a path.
    pub(crate) fn get(&self, path: &RelPath) -> Option<(&Entry, &Print)> {
        let at = self.manifest.entries.binary_search_by(|e| e.path.cmp(path)).ok()?;
        Some((&self.manifest.entries[at], &self.prints[at]))
    }

    /// Positions of the files that have bytes in the store, in the order of their digests; see [`State::with_digest`].
    pub(crate) fn by_digest(&self) -> Vec<u32> {
        let entries = &self.manifest.entries;
        let is_stored = |e: &Entry| e.content().is_some_and(|c| c.object.is_some());
        let mut order: Vec<u32> =
            (0u32..).zip(entries).filter(|(_, e)| is_stored(e)).map(|(at, _)| at).collect();
        order.sort_unstable_by_key(|at| entries[*at as usize].content().map(|c| c.sha256));
        order
    }

    /// Where bytes with this digest are stored: object and name inside it. `order` comes from [`State::by_digest`].
    pub(crate) fn with_digest(&self, order: &[u32], digest: &Digest) -> Option<(u32, RelPath)> {
        let entry = |at: u32| &self.manifest.entries[at as usize];
        let content = |at: u32| entry(at).content().map(|c| c.sha256);
        let at = order.binary_search_by_key(&Some(*digest), |at| content(*at)).ok()?;
        let entry = entry(order[at]);
        let Content { object, member, .. } = entry.content()?;
        Some(((*object)?, member.clone().unwrap_or_else(|| entry.path.clone())))
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
