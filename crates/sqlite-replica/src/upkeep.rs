//! What keeps a replica small, restorable and proven while its writer follows the database: levels, images, retention, checks.
//!
//! [`Upkeep`] is a plain state machine of one database: it knows what the replica holds ([`Holdings`]), which of its timers
//! are due, and which task comes next; the writer carries tasks out beside its copying (`write/keep.rs`) and tells it the results.
//! Every timer is armed by a change, so an idle database costs one comparison per pass and no request at all (trap 17). Every
//! task is a plan, made by a pure function, checked, then executed; one at a time per database, a few per process (P7).
//! Promises: P3 (`retention`), P7 (`spool`, `merge`). Decision 0004.

mod choose;
mod compaction;
mod digests;
mod holdings;
mod merge;
mod outcome;
mod policy;
mod probe;
mod prune;
mod remote;
mod report;
mod retention;
mod snapshot;
mod spool;
mod task;
mod timers;

pub use compaction::{CompactionPlan, Outlook, Why as Barrier};
pub use holdings::{Holding, Holdings};
pub use policy::Policy;
pub use probe::probe;
pub(crate) use prune::marks;
pub use prune::{Pruned, plan_prune, prune};
pub use report::{Healing, Report};
pub use retention::{Deletion, Reason, RetentionPlan};
pub use snapshot::SnapshotPlan;

pub(crate) use holdings::CLAIM_SIZE;
pub(crate) use merge::Merging;
pub(crate) use remote::{compare, prove, stored_size};
pub(crate) use spool::{Spool, kept_sync};
pub(crate) use task::{Done, Stored, Task};
pub(crate) use timers::Timers;

use crate::catalogue::Catalogue;
use crate::error::Result;
use crate::layout::Level;
use clock::{Clock, IdGen, UnixMs};
use digests::Digests;
use ltx::{FileName, Txid};
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// First pause after a task failed; doubled up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LAST_PAUSE: Duration = Duration::from_secs(3_600);
/// Files that a scheduled check reads back, and how large they may be.
const SAMPLE: usize = 4;
const SAMPLE_BYTES: u64 = 64 << 20;
/// A new replica is read back for the first time after this.
const FIRST_POINT: Duration = Duration::from_secs(60);
/// Nothing is merged in the first seconds of a start.
const SOON: Duration = Duration::from_secs(5);
/// After the clocks disagreed, or the store would not delete, retention rests this long (P3: a clock jump deletes nothing).
const REST: Duration = Duration::from_secs(3_600);
/// Wall clock and monotonic clock may drift apart by this much between two passes.
const JUMP_MS: i64 = 60_000;

/// The time by the store's clock, as far as it is known: what ages and grace periods are counted in.
pub(crate) fn store_now(store: &Store, clock: &dyn Clock) -> UnixMs {
    let here = clock.unix_ms();
    store.server_date().map_or(here, |date| date.server_ms + (here - date.local_ms).max(0))
}

/// The upkeep of one database.
pub(crate) struct Upkeep {
    pub(crate) policy: Policy,
    pub(crate) holdings: Holdings,
    pub(crate) spool: Spool,
    pub(crate) timers: Timers,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    store: Store,
    /// Files read back by this process.
    read_back: HashSet<(Level, FileName)>,
    /// Why the levels cannot go on.
    blocked: Option<Barrier>,
    /// An image is wanted, and why.
    pub(crate) wanted: Option<&'static str>,
    resend: VecDeque<(Holding, PathBuf)>,
    suspicious: bool,
    /// While the replica is listed: what was stored meanwhile, which the listing may not show.
    meanwhile: Option<Vec<Holding>>,
    /// A scheduled check goes on with bytes.
    sample: bool,
    /// Failures in a row.
    failures: u32,
    /// Wall clock minus monotonic clock, ms.
    drift_ms: Option<i64>,
    /// The hole that is being closed.
    healing: Option<Txid>,
    reports: Vec<Report>,
    /// Of a sealed replica: what was sent.
    digests: Option<Digests>,
    /// They may be compared with what the store gives back.
    compares: bool,
}

impl Upkeep {
    /// Takes over what a start has listed.
    pub(crate) fn new(
        policy: Policy,
        catalogue: &Catalogue,
        state: &Path,
        store: Store,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdGen>,
    ) -> Result<Upkeep> {
        let spool = Spool::open(state, policy.spool_bytes)?;
        let now = clock.monotonic_ns();
        let mut upkeep = Upkeep {
            timers: Timers::default(),
            holdings: Holdings::from(catalogue),
            spool,
            policy,
            clock,
            ids,
            store,
            read_back: HashSet::new(),
            blocked: None,
            wanted: None,
            resend: VecDeque::new(),
            suspicious: false,
            meanwhile: None,
            sample: false,
            failures: 0,
            drift_ms: None,
            healing: None,
            reports: Vec::new(),
            digests: None,
            compares: false,
        };
        upkeep.arm_at_start(now);
        upkeep.settle_spool();
        upkeep.diagnose();
        upkeep.reports.push(Report::Objects(upkeep.holdings.len()));
        Ok(upkeep)
    }

    /// What there is to tell.
    pub(crate) fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// A file of level 0 is confirmed.
    pub(crate) fn sent(&mut self, txid: Txid, size: u64, sha256: Option<String>) -> Holding {
        let time_ms = store_now(&self.store, &*self.clock);
        let h = Holding { level: Level::SYNC, name: FileName { min: txid, max: txid }, size, time_ms };
        self.holdings.add(h);
        self.meanwhile.iter_mut().for_each(|files| files.push(h));
        self.note_digest(&Stored { file: h, sha256 });
        let now = self.clock.monotonic_ns();
        self.timers.arm_level(1, now, self.policy.levels[0]);
        if !h.is_claim() {
            self.timers.arm_point(now);
        }
        h
    }

    /// The first image of a replica is in the store: it is read back a little later.
    pub(crate) fn first_image_stored(&mut self, image: Stored) {
        self.image_stored(image);
        self.timers.put_off_point();
    }

    /// An image is in the store.
    pub(crate) fn image_stored(&mut self, image: Stored) {
        self.holdings.add(image.file);
        self.meanwhile.iter_mut().for_each(|files| files.push(image.file));
        self.note_digest(&image);
        let image = image.file;
        self.blocked = None;
        self.wanted = None;
        self.failures = 0;
        let now = self.clock.monotonic_ns();
        if image.level == Level::SNAPSHOT {
            if let Some(hole) = self.healing.take().filter(|hole| image.name.max >= *hole) {
                self.reports.push(Report::Healed { by: Healing::Bridged, txid: hole.get() });
            }
            // Its proof is due at once.
            self.timers.point_now(now);
            self.timers.arm_retention(now, self.policy.grace);
            for level in 1..=3 {
                self.timers.arm_level(level, now, self.policy.levels[usize::from(level) - 1]);
            }
        }
        self.reports.push(Report::Objects(self.holdings.len()));
    }

    /// Whether the writer should do anything for us now: one comparison while nothing is due.
    pub(crate) fn is_due(&mut self, now: u64) -> bool {
        self.watch_clocks(now);
        now >= self.due_at()
    }

    /// When a task is due, monotonic ns.
    pub(crate) fn due_at(&self) -> u64 {
        let at_once = self.suspicious || self.sample || !self.resend.is_empty();
        if at_once { self.timers.not_before } else { self.timers.next() }
    }

    /// Whether nothing is to be done until something changes; scheduled checks excepted.
    pub(crate) fn is_settled(&self) -> bool {
        self.timers.is_settled() && !self.suspicious && self.resend.is_empty() && self.wanted.is_none()
    }

    fn point_reached(&mut self, now: u64, txid: Txid, proven: bool, read: u64) {
        self.timers.point_reached(now, self.policy.snapshot, &*self.ids);
        if self.holdings.level_from(Level::SYNC, txid.next()).any(|h| !h.is_claim()) {
            self.timers.arm_point(now);
        }
        self.reports.push(Report::RestorePoint { txid: txid.get(), proven, read });
    }

    /// An image, as soon as the writer can.
    pub(crate) fn want(&mut self, why: &'static str) {
        self.wanted.get_or_insert(why);
    }

    /// Something unexpected was seen: look at the replica before trusting what is known.
    pub(crate) fn suspect(&mut self, why: &str) {
        tracing::info!(why, "listing the replica again");
        self.suspicious = true;
    }

    fn watch_clocks(&mut self, now: u64) {
        let drift = self.clock.unix_ms() - (now / 1_000_000) as i64;
        if self.drift_ms.replace(drift).is_some_and(|before| (before - drift).abs() > JUMP_MS) {
            self.suspect("the clock jumped");
            self.timers.rest_retention(now, REST);
        }
    }

    fn arm_at_start(&mut self, now: u64) {
        let Policy { levels, grace, snapshot, verify, .. } = self.policy.clone();
        let here = store_now(&self.store, &*self.clock);
        for level in 1..=3u8 {
            let (below, reached) = (Level(level - 1), self.holdings.end_of(Level(level)));
            let from = reached.map_or(Txid::FIRST, Txid::next);
            // Restarts do not put a merge off: the age of what waits for it counts.
            let waiting = self.holdings.level_from(below, from).next();
            if let Some(oldest) = waiting {
                let age = Duration::from_millis((here - oldest.time_ms).max(0) as u64);
                self.timers.arm_level(
                    level,
                    now,
                    levels[usize::from(level) - 1].saturating_sub(age).max(SOON),
                );
            }
        }
        if self.holdings.is_empty() {
            self.timers.first_point(now, FIRST_POINT);
            self.timers.start_verify(now, verify, &*self.ids);
            return;
        }
        self.timers.arm_retention(now, grace.min(Duration::from_secs(60)));
        self.timers.start_verify(now, verify, &*self.ids);
        // Restarts do not put a restore point off: its age counts, not ours.
        let points = self.holdings.level(Level::SNAPSHOT).map(|h| h.time_ms);
        let last = points.max().unwrap_or(0);
        let age = Duration::from_millis((here - last).max(0) as u64);
        self.timers.start_point(now, snapshot.saturating_sub(age), snapshot, &*self.ids);
    }

    /// Of what is kept on the volume, a higher level of the replica may hold everything by now. The newest file of level 0 stays: a
    /// start after a power loss may have to prove that it was ours.
    fn settle_spool(&mut self) {
        let ends: Vec<Option<Txid>> =
            (0..=Level::SNAPSHOT.0).map(|l| self.holdings.end_of(Level(l))).collect();
        self.spool.drop_where(|level, name| {
            let newest = level == Level::SYNC && Some(name.max) >= ends[0];
            !newest
                && (usize::from(level.0) + 1..9).any(|upper| ends[upper].is_some_and(|end| name.max <= end))
        });
    }
}

#[cfg(test)]
mod tests;
