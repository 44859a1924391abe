//! The writer of one tree: claims once, then commits a snapshot whenever it is told to look and something has changed.
//!
//! One snapshot: 1. marker and device are as they were; 2. scan; 3. guard; 4. read what changed and send packs; 5. guard again, for what
//! vanished meanwhile; 6. remember the commit under way (`next`); 7. commit `m/<n+1>`, create-only; 8. `next` becomes `state`, the marker moves.
//! A crash anywhere leaves either the old snapshot and some unreferenced packs, or the new one. A lost reply to 7 is settled by
//! committing the identical bytes again before anything else is done. Once fenced, always fenced (P4).

mod begin;
mod changes;
mod checks;
mod commit;
mod draft;

pub(crate) use begin::is_local as begin_is_local;

use crate::claim::new_id;
use crate::entry::Digest;
use crate::filter::Filter;
use crate::home::{Home, Lock, Marker};
use crate::layout::Seq;
use crate::manifest::Head;
use crate::repo::Identity;
use crate::scan::{LeftOut, Scanner};
use crate::state::State;
use crate::steps::Steps;
use crate::{Error, Result};
use bytes::Bytes;
use clock::{Clock, IdGen};
use seal::Protection;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

/// So often the tree is read again when files change while it is read.
const ROUNDS: u32 = 3;

/// What a writer is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tree.
    pub root: PathBuf,
    /// Who claims.
    pub identity: Identity,
    /// Sealed or plain.
    pub protection: Protection,
    /// What is left out.
    pub filter: Filter,
    /// Paths without which nothing is committed.
    pub must_exist: Vec<String>,
    /// Continue a replica that the tree cannot prove to descend from.
    pub adopt: bool,
    /// Recorded in the first snapshot, e.g. where it was imported from.
    pub origin: Option<String>,
    /// Name and version of the writer.
    pub writer: String,
}

/// A claim that `restore init` made for this pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// Number of the claim.
    pub epoch: Seq,
}

/// What one look led to.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The new snapshot; `None` if nothing had changed.
    pub head: Option<Head>,
    /// Files whose content was sent.
    pub uploaded: u64,
    /// Bytes stored, manifest included.
    pub stored_bytes: u64,
    /// Entries that are gone.
    pub deleted: u64,
    /// Files that kept an earlier version, or are left out for want of one: they changed while they were read, or cannot be read.
    pub unstable: u64,
    /// Those of them that may not be read, or that the disk does not give.
    pub unreadable: u64,
    /// Files changed again after they were read: look again soon.
    pub moved: bool,
    /// Entries of the tree.
    pub tracked: u64,
    /// What was left out.
    pub left_out: LeftOut,
}

/// The writer of one tree.
pub struct Writer {
    settings: Arc<Settings>,
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    home: Home,
    _lock: Lock,
    lineage: String,
    epoch: Seq,
    last_number: Seq,
    /// What is in the newest snapshot by number, when the tree itself is not known (sealed, and the state was lost).
    before: Option<Head>,
    state: Option<Arc<State>>,
    heads: BTreeMap<Seq, Head>,
    scanner: Option<Scanner>,
    /// What the last look could not read: said once, not at every look.
    told: Arc<draft::Troubles>,
    device: u64,
    slack_ms: i64,
    marker: Marker,
    pending: Option<Pending>,
    fenced: bool,
    steps: Steps,
}

/// A commit that may or may not have happened.
struct Pending {
    body: Bytes,
    head: Head,
}

impl Writer {
    /// Number of the claim.
    pub fn epoch(&self) -> Seq {
        self.epoch
    }

    /// The newest snapshot this tree descends from; 0 before the first.
    pub fn snapshot_number(&self) -> Seq {
        self.marker.snapshot
    }

    /// Id of the history.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// The tree.
    pub fn root(&self) -> &Path {
        &self.settings.root
    }

    /// Its home on the volume.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The store it writes to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether another writer has taken over.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// The SQLite databases that the last look met.
    pub(crate) fn databases(&self) -> &[PathBuf] {
        self.scanner.as_ref().map_or(&[], Scanner::databases)
    }

    /// Heads of commits that need not be read from the store.
    pub fn known_heads(&self) -> &BTreeMap<Seq, Head> {
        &self.heads
    }

    /// Hears of every head that was read, so that it is not read twice.
    pub fn learn_heads(&mut self, heads: impl IntoIterator<Item = Head>) {
        self.heads = heads.into_iter().map(|head| (head.number, head)).collect();
        forget_oldest(&mut self.heads);
    }

    /// Forgets fingerprints: the next look compares every content (a writer through mmap leaves no trace in `stat`).
    pub fn distrust(&mut self) {
        if let Some(state) = &mut self.state {
            Arc::make_mut(state).prints.iter_mut().for_each(|print| print.suspect = true);
        }
    }

    /// Looks at the tree and commits what has changed. `announce` hears of every directory before it is listed.
    pub async fn snapshot(&mut self, announce: impl FnMut(&Path) + Send + 'static) -> Result<Committed> {
        if self.fenced {
            return Err(fenced(self.last_number + 1));
        }
        let done = self.try_snapshot(announce).await;
        if done.as_ref().is_err_and(Error::is_fenced) {
            self.fenced = true;
        }
        done
    }

    async fn try_snapshot(&mut self, announce: impl FnMut(&Path) + Send + 'static) -> Result<Committed> {
        self.settle().await?;
        self.check_volume()?;
        let began = self.home.file_system_time()?;
        let write_id = new_id(&*self.ids);
        let mut announce = announce;
        let mut upload = draft::Uploads::new(&write_id, self.state.as_deref());
        let mut round = 1;
        let mut allowed = None;
        let (mut uploaded, mut stored_bytes) = (0, 0);
        let mut drafted = loop {
            let mut scanner = self.scanner.take().unwrap_or_else(|| Scanner::new(&self.settings.root));
            let settings = self.settings.clone();
            let (scanner, announced, scan) = blocking(move || {
                let scan = scanner.scan(&settings.filter, began, &mut announce);
                (scanner, announce, scan)
            })
            .await;
            self.scanner = Some(scanner);
            announce = announced;
            let scan = scan?;
            let loss = changes::loss(&scan, self.state.as_deref(), self.before.as_ref(), &self.settings);
            self.guard(&loss, &mut allowed)?;
            self.steps.at("read")?;
            let drafted = self.draft(scan, upload).await?;
            uploaded += drafted.uploaded;
            stored_bytes += drafted.stored_bytes;
            if !drafted.moved || round == ROUNDS {
                break drafted;
            }
            round += 1;
            upload = drafted.uploads;
        };
        // Of all rounds, not of the last alone.
        (drafted.uploaded, drafted.stored_bytes) = (uploaded, stored_bytes);
        let drafted = self.guard_draft(drafted, &mut allowed)?;
        self.commit(drafted, write_id).await
    }
}

/// Heads and the objects they name that are remembered, in memory and in the state that every commit writes (P7): some three megabytes. A
/// week of a busy tree has more; retention reads what is not remembered.
const REMEMBERED: usize = 20_000;

fn forget_oldest(heads: &mut BTreeMap<Seq, Head>) {
    let weight = |head: &Head| 3 + head.objects.len();
    let mut all: usize = heads.values().map(weight).sum();
    while all > REMEMBERED && heads.len() > 1 {
        all -= heads.pop_first().map_or(0, |(_, oldest)| weight(&oldest));
    }
}

fn fenced(number: Seq) -> Error {
    Error::Fenced {
        what: format!("another writer has taken number {number} of this replica"),
        hint: "only one pod may write; this one has stopped and overwritten nothing".into(),
    }
}

/// Runs blocking work beside the runtime; a panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("blocking work is never cancelled"),
        },
    }
}

/// Digest of nothing, for entries without bytes.
pub(crate) fn digest_of_nothing() -> Digest {
    Digest::of(b"")
}

#[cfg(test)]
mod odd;
#[cfg(test)]
mod tests;
