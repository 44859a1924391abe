//! The verdict on each file: whether it may go, and why.

use crate::layout::Level;
use crate::upkeep::holdings::{Holding, Holdings};
use crate::upkeep::policy::Policy;
use crate::upkeep::retention::Reason;
use clock::UnixMs;
use ltx::Txid;
use protect::Keep;
use std::collections::{BTreeSet, HashSet};

const DAY_MS: i64 = 86_400_000;
/// A claim younger than this fences somebody who may still wake up; so do the newest ones at any age.
const CLAIM_AGE_MS: i64 = 90 * DAY_MS;
const CLAIMS: usize = 64;

/// What the verdicts need to know, computed once.
pub(super) struct Rules<'a> {
    holdings: &'a Holdings,
    policy: &'a Policy,
    now_ms: UnixMs,
    newest_ms: UnixMs,
    proven: Txid,
    /// Files that restores of the newest and of the proven points read.
    needed: HashSet<Holding>,
    /// End of the oldest image whose increments are kept.
    floor: Option<Txid>,
    /// When the newest snapshot was stored.
    snapshot_ms: UnixMs,
    /// Snapshots below the floor that a rule of `keep` asks for.
    chosen: BTreeSet<Txid>,
    newest_sync: Option<Txid>,
    claims: HashSet<Txid>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(
        holdings: &'a Holdings,
        policy: &'a Policy,
        now_ms: UnixMs,
        proven: Txid,
        newest: Txid,
    ) -> Rules<'a> {
        let newest_ms = holdings.newest_ms();
        let points = holdings.vouched().chain([newest]);
        let needed = points.flat_map(|point| holdings.chain(point)).collect();
        let all = newest_ms - policy.keep.all.as_millis() as i64;
        let snapshots: Vec<Holding> =
            holdings.level(Level::SNAPSHOT).filter(|s| s.name.max <= proven).collect();
        let floor = snapshots.iter().filter(|s| s.time_ms <= all).map(|s| s.name.max).max();
        let older: Vec<&Holding> = snapshots.iter().filter(|s| Some(s.name.max) < floor).collect();
        let claims = holdings.level(Level::SYNC).rev().filter(Holding::is_claim).take(CLAIMS);
        Rules {
            holdings,
            policy,
            now_ms,
            newest_ms,
            proven,
            needed,
            floor,
            snapshot_ms: snapshots.iter().map(|s| s.time_ms).max().unwrap_or(UnixMs::MAX),
            chosen: chosen(&older, &policy.keep),
            newest_sync: holdings.end_of(Level::SYNC),
            claims: claims.map(|h| h.name.min).collect(),
        }
    }

    pub(super) fn verdict(&self, h: &Holding) -> Option<Reason> {
        if self.needed.contains(h) || h.name.max > self.proven {
            return None;
        }
        let settled =
            |since: UnixMs| self.now_ms.saturating_sub(since) >= self.policy.grace.as_millis() as i64;
        let age = self.newest_ms - h.time_ms;
        let below = Some(h.name.max) <= self.floor && settled(self.snapshot_ms);
        if h.level == Level::SNAPSHOT {
            let keep = Some(h.name.max) >= self.floor || self.chosen.contains(&h.name.max);
            return (!keep && settled(self.snapshot_ms)).then_some(Reason::NotKept);
        }
        if h.level == Level::SYNC && Some(h.name.max) == self.newest_sync {
            return None;
        }
        if h.is_claim() {
            let old = age >= CLAIM_AGE_MS && !self.claims.contains(&h.name.min);
            return (old && below).then_some(Reason::OldClaim);
        }
        if below {
            return Some(Reason::TooOld);
        }
        let thin_after = self.policy.thin_after(h.level.0)?;
        if age < thin_after {
            return None;
        }
        if self.replaced(h).is_some_and(|by| settled(by.time_ms)) {
            return Some(Reason::Merged);
        }
        let bridged = h.level == Level::SYNC && age >= DAY_MS && settled(self.snapshot_ms);
        let covered =
            || self.holdings.level(Level::SNAPSHOT).any(|s| s.covers(h) && s.name.max <= self.proven);
        (bridged && covered()).then_some(Reason::Bridged)
    }

    /// The file of a higher level (no snapshot) that holds all of `h`.
    fn replaced(&self, h: &Holding) -> Option<Holding> {
        (h.level.0 + 1..Level::SNAPSHOT.0).rev().find_map(|level| {
            let level = Level(level);
            // The last file that begins at or before `h`.
            let mut up_to = self.holdings.level(level).take_while(|u| u.name.min <= h.name.min);
            up_to.by_ref().filter(|u| u.covers(h) && u.name.max <= self.proven).last()
        })
    }
}

/// The newest snapshot of each of the last hours, days, weeks and months that have one, `older` being oldest first.
fn chosen(older: &[&Holding], keep: &Keep) -> BTreeSet<Txid> {
    const HOUR_MS: i64 = 3_600_000;
    let periods = [
        (HOUR_MS, keep.hourly),
        (DAY_MS, keep.daily),
        (7 * DAY_MS, keep.weekly),
        // The mean month of the Gregorian calendar.
        (2_629_746_000, keep.monthly),
    ];
    let mut chosen = BTreeSet::new();
    for (period, count) in periods {
        let mut seen = BTreeSet::new();
        for snapshot in older.iter().rev() {
            if seen.len() as u32 >= count {
                break;
            }
            if seen.insert(snapshot.time_ms.div_euclid(period)) {
                chosen.insert(snapshot.name.max);
            }
        }
    }
    chosen
}
