//! What is deleted, and what never: a plan from heads to numbers, and its execution.
//!
//! Safety rules (P3): nothing is deleted unless something newer is *proven* (read back and checksummed); the newest snapshot, the
//! newest proven one and everything after it stay; the last 32 snapshots stay; claims stay for ever (trap 3). Ages count back from the
//! newest snapshot, so a stopped pod and a jumping clock delete nothing. Objects go only when no commit that is left refers to them and
//! the store itself says that they are older than a day. Without every head nothing is deleted at all.

use crate::catalogue::Catalogue;
use crate::layout::{BIGS, PACKS, Seq, commit_key};
use crate::manifest::{CommitKind, Head};
use crate::{Error, Result};
use clock::{Clock, UnixMs};
use futures::stream::TryStreamExt;
use protect::Keep;
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use store::Store;

/// So many of the newest snapshots stay, whatever their age.
const LAST: usize = 32;
/// Objects younger than this may belong to a commit under way.
const GRACE_MS: i64 = 24 * 3_600_000;
/// Objects per run (P7).
const MOST: usize = 5_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 1970-01-01 was a Thursday; weeks begin on Monday.
const MONDAY_MS: i64 = 3 * DAY_MS;

/// What would be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetentionPlan {
    /// Snapshots that go.
    pub snapshots: Vec<Seq>,
    /// Objects that nothing refers to any more, with their stored bytes.
    pub objects: Vec<(String, u64)>,
    /// Snapshots that stay.
    pub kept: u64,
    /// Why nothing goes, if a rule forbids it.
    pub held_back: Option<String>,
}

impl fmt::Display for RetentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.objects.iter().map(|(_, size)| size).sum();
        write!(
            f,
            "{} snapshots and {} objects ({bytes} bytes) go, {} snapshots stay",
            self.snapshots.len(),
            self.objects.len(),
            self.kept
        )?;
        self.held_back.as_ref().map_or(Ok(()), |why| write!(f, "; {why}"))
    }
}

/// Which snapshots go. `heads` are all commits, ascending.
pub fn choose(heads: &[Head], proven: Option<Seq>, keep: &Keep) -> (Vec<Seq>, Option<String>) {
    let snapshots: Vec<&Head> = heads.iter().filter(|h| h.kind == CommitKind::Snapshot).collect();
    let Some(newest) = snapshots.last() else { return (vec![], None) };
    let Some(proven) = proven.filter(|p| snapshots.iter().any(|h| h.number == *p)) else {
        return (vec![], Some("nothing is proven yet: run restore verify".into()));
    };
    let now = newest.unix_ms();
    let mut stay: BTreeSet<Seq> = snapshots.iter().rev().take(LAST).map(|h| h.number).collect();
    stay.extend(snapshots.iter().map(|h| h.number).filter(|n| *n >= proven));
    let all_ms = i64::try_from(keep.all.as_millis()).unwrap_or(i64::MAX);
    stay.extend(snapshots.iter().filter(|h| now.saturating_sub(h.unix_ms()) <= all_ms).map(|h| h.number));
    type Bucket = fn(UnixMs) -> i64;
    let rows: [(u32, Bucket); 4] = [
        (keep.hourly, |t| t.div_euclid(HOUR_MS)),
        (keep.daily, |t| t.div_euclid(DAY_MS)),
        (keep.weekly, |t| (t + MONDAY_MS).div_euclid(7 * DAY_MS)),
        (keep.monthly, month),
    ];
    for (count, bucket) in rows {
        let mut seen: BTreeSet<i64> = BTreeSet::new();
        for head in snapshots.iter().rev() {
            if seen.len() as u64 == u64::from(count) {
                break;
            }
            if seen.insert(bucket(head.unix_ms())) {
                stay.insert(head.number);
            }
        }
    }
    (snapshots.iter().map(|h| h.number).filter(|n| !stay.contains(n)).collect(), None)
}

/// Months since 1970, in UTC.
fn month(at: UnixMs) -> i64 {
    let text = clock::format_unix_ms(at);
    let number =
        |range: std::ops::Range<usize>| text.get(range).and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
    number(0..4) * 12 + number(5..7)
}

/// Plans one run. `heads` must be those of every commit in the store.
pub async fn plan(
    store: &Store,
    heads: &[Head],
    proven: Option<Seq>,
    keep: &Keep,
    clock: &dyn Clock,
) -> Result<RetentionPlan> {
    let (snapshots, held_back) = choose(heads, proven, keep);
    let gone: HashSet<Seq> = snapshots.iter().copied().collect();
    let left = heads.iter().filter(|h| !gone.contains(&h.number));
    let live: HashSet<&str> = left.clone().flat_map(|h| &h.objects).map(|o| o.key.as_str()).collect();
    let kept = left.filter(|h| h.kind == CommitKind::Snapshot).count() as u64;
    let now = clock.unix_ms() + store.server_date_skew().unwrap_or(0);
    let mut objects = Vec::new();
    for prefix in [PACKS, BIGS] {
        let mut listing = store.list(prefix, None);
        while let Some(object) = listing.try_next().await? {
            let old = now.saturating_sub(object.modified_ms) > GRACE_MS;
            if old && !live.contains(object.key.as_str()) && objects.len() < MOST {
                objects.push((object.key, object.size));
            }
        }
    }
    Ok(RetentionPlan { snapshots, objects, kept, held_back })
}

/// Every head of the replica; `known` ones are not read.
pub async fn all_heads(store: &Store, known: impl Fn(Seq) -> Option<Head>) -> Result<Vec<Head>> {
    Catalogue::load(store).await?.heads(store, known).await
}

/// Carries out a plan: commits first, so that no commit is ever left without its objects.
pub async fn apply(store: &Store, plan: &RetentionPlan) -> Result<u64> {
    let commits: Vec<String> = plan.snapshots.iter().map(|n| commit_key(*n)).collect();
    store.delete_all(&commits).await.map_err(Error::from)?;
    let objects: Vec<String> = plan.objects.iter().map(|(key, _)| key.clone()).collect();
    store.delete_all(&objects).await?;
    Ok((commits.len() + objects.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, run};
    use std::time::Duration;

    fn heads(times: &[i64]) -> Vec<Head> {
        (1u64..)
            .zip(times)
            .map(|(n, t)| {
                let mut head = Head::claim(n, "aa", "w".into(), n - 1, clock::format_unix_ms(*t));
                head.kind = CommitKind::Snapshot;
                head
            })
            .collect()
    }

    fn keep(all: u64, hourly: u32, daily: u32) -> Keep {
        Keep { all: Duration::from_secs(all), hourly, daily, weekly: 0, monthly: 0 }
    }

    #[test]
    fn p3_nothing_goes_before_something_is_proven() {
        let times: Vec<i64> = (0..100).map(|i| 1_700_000_000_000 + i * HOUR_MS).collect();
        let heads = heads(&times);
        let (gone, why) = choose(&heads, None, &keep(0, 1, 0));
        assert!(gone.is_empty() && why.is_some());
        let (gone, _) = choose(&heads, Some(10), &keep(0, 1, 0));
        assert_eq!(gone, (1..10).collect::<Vec<_>>(), "never beyond the newest proven one");
        let (gone, _) = choose(&heads, Some(100), &keep(0, 1, 0));
        assert_eq!(gone, (1..=68).collect::<Vec<_>>(), "the last 32 stay");
        let (gone, _) = choose(&heads, Some(1_000), &keep(0, 1, 0));
        assert!(gone.is_empty(), "a proof of something that is not there proves nothing");
    }

    #[test]
    fn p3_ages_count_back_from_the_newest_snapshot() {
        let times: Vec<i64> = (0..200).map(|i| 1_700_000_000_000 + i * HOUR_MS).collect();
        let (gone, _) = choose(&heads(&times), Some(200), &keep(7 * 86_400, 0, 0));
        assert_eq!(gone.len(), 200 - 169, "7 days and the boundary itself");
        // A clock that jumped back a year stamps nothing: times never go back, and old numbers are judged by the newest.
        let (gone, _) = choose(&heads(&[0, 1, 2]), Some(3), &keep(1, 0, 0));
        assert!(gone.is_empty());
    }

    #[test]
    fn one_per_day_then_nothing() {
        let times: Vec<i64> = (0..400).map(|i| 1_700_006_400_000 + i * HOUR_MS).collect();
        let (gone, _) = choose(&heads(&times), Some(400), &keep(0, 0, 5));
        let kept = 400 - gone.len();
        assert!((32..=37).contains(&kept), "{kept}");
    }

    #[test]
    fn p3_p4_pruning_keeps_claims_live_objects_and_the_young() {
        run(async {
            let b = Bench::new();
            b.put("stays", "always the same");
            for i in 0..60 {
                b.put("a", format!("{i}"));
                b.commit().await.unwrap();
                b.clock.advance_ms(HOUR_MS as u64);
            }
            let store = &b.store;
            let verified = crate::verify(store, None, None).await.unwrap();
            crate::record(store, &verified, "verify", &*b.clock).await.unwrap();
            let heads = all_heads(store, |_| None).await.unwrap();
            let proven = crate::Proven::load(store).await.unwrap().and_then(|p| p.number());
            let plan = plan(store, &heads, proven, &keep(3_600, 0, 0), &*b.clock).await.unwrap();
            assert_eq!(plan.snapshots.len(), 60 - LAST);
            assert!(!plan.objects.is_empty());
            apply(store, &plan).await.unwrap();
            let left = all_heads(store, |_| None).await.unwrap();
            assert_eq!(left.iter().filter(|h| h.kind == CommitKind::Claim).count(), 60, "claims stay");
            for head in left.iter().filter(|h| h.kind == CommitKind::Snapshot) {
                crate::verify(store, Some(head.number), None).await.unwrap();
            }
            b.put("a", "goes on");
            b.commit().await.unwrap();
            let target = b.dir.path().join("back");
            b.restore_to(&target).await.unwrap();
            assert_eq!(std::fs::read(target.join("stays")).unwrap(), b"always the same");
        });
    }

    #[test]
    fn p4_a_zombie_cannot_slip_in_where_retention_deleted() {
        run(async {
            let b = Bench::new();
            b.put("a", "0");
            let mut zombie = b.writer().await.unwrap();
            zombie.snapshot(|_| {}).await.unwrap();
            let next = zombie.snapshot_number() + 1;
            let other = b.dir.path().join("copy");
            testkit::dirs::copy_dir(b.root(), &other).unwrap();
            let settings = crate::Settings { root: other.clone(), ..b.settings.clone() };
            let mut writer = b.writer_with(settings, crate::Steps::default()).await.unwrap();
            for i in 0..50 {
                std::fs::write(other.join("a"), format!("new {i}")).unwrap();
                b.clock.advance_ms(DAY_MS as u64);
                writer.snapshot(|_| {}).await.unwrap();
            }
            let heads = all_heads(&b.store, |_| None).await.unwrap();
            let plan = plan(&b.store, &heads, Some(writer.snapshot_number()), &keep(1, 0, 0), &*b.clock)
                .await
                .unwrap();
            apply(&b.store, &plan).await.unwrap();
            assert!(!plan.snapshots.is_empty() && !plan.snapshots.contains(&next), "the claim is pinned");
            b.put("a", "zombie");
            assert!(zombie.snapshot(|_| {}).await.unwrap_err().is_fenced());
        });
    }
}
