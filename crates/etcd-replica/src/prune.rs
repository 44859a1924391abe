//! Executing a retention plan: decided twice, one object at a time, the snapshot before its manifest.
//!
//! The plan that a person or the job saw is made again from a fresh listing under a lease, and only what both want goes. A store
//! that denies a deletion (object lock, a credential without that right) is counted, not an error: locks are wanted (P3).
//! A crash leaves a manifest without its snapshot, which the next run names and removes, never a snapshot nobody can name.

mod memory;

use crate::catalogue::{Catalogue, Item};
use crate::layout::{LEASE, Part};
use crate::retention::{Context, Object, Plan, Policy, State, Verdict, plan};
use crate::{Error, Result, result};
use bytes::Bytes;
use clock::Clock;
use memory::{count_up, remember};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use store::{PutOptions, Store};

/// Names tried for each that the store refuses to give up, so that locked ones cannot stand in the way of all others for good.
const TRIES: usize = 4;
/// A lease older than this belongs to a pruner that died.
const LEASE_AGE_MS: i64 = 3_600_000;

/// What a run of `prune` needs.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// What is kept.
    pub policy: Policy,
    /// Seconds between two snapshots.
    pub interval: i64,
    /// Hash of a tighter policy that a person accepted.
    pub accepted: Option<String>,
    /// As few snapshots as a person accepted, where the last run saw more.
    pub fewer: Option<usize>,
    /// Only exactly this plan.
    pub plan_hash: Option<String>,
    /// The snapshot just written, by the job that wrote it.
    pub just_written: Option<String>,
}

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    /// The plan it followed.
    pub plan: Plan,
    /// Names that are gone.
    pub deleted: Vec<String>,
    /// Names that the store refuses to give up.
    pub locked: Vec<String>,
    /// Names that changed since the listing and were left alone.
    pub changed: Vec<String>,
}

impl Pruned {
    /// Due, and still there.
    pub fn backlog(&self) -> usize {
        self.plan.deletions().len() + self.plan.waiting() - self.deleted.len()
    }

    /// Snapshots that are left; leftovers of unfinished runs count for nothing.
    pub fn candidates(&self) -> usize {
        let gone = |id: &String| self.deleted.contains(id);
        self.plan.rows.iter().filter(|row| is_candidate(row.state) && !gone(&row.id)).count()
    }
}

/// The catalogue as the planner sees it.
pub(crate) fn objects(catalogue: &Catalogue) -> Vec<Object> {
    let uid = catalogue.uid();
    let object = |item: &Item| {
        let manifest = item.manifest.as_ref();
        let foreign = manifest.is_some_and(|m| uid.as_ref().is_some_and(|uid| *uid != m.kube_system_uid));
        let mismatch = manifest.is_some_and(|m| m.hashkv.verdict == crate::proof::Verdict::Mismatch);
        let state = if foreign {
            State::Foreign
        } else if mismatch {
            State::Mismatch
        } else if item.is_failed() {
            State::Failed
        } else if manifest.is_none() {
            State::Partial
        } else if item.payload.is_none() {
            State::Orphan
        } else if item.is_verified() {
            State::Verified
        } else {
            State::Unproven
        };
        let stored = item.payload.as_ref().map_or(item.modified_ms, |payload| payload.modified_ms) / 1_000;
        Object {
            id: item.name.to_string(),
            taken: item.name.taken,
            revision: item.name.revision,
            state,
            modified: stored,
            touched: item.modified_ms / 1_000,
            suspect: manifest.is_some_and(|m| m.clock_suspect) || Object::is_late(item.name.taken, stored),
            pinned: item.pinned,
            locked_until: None,
            drilled: item.is_drilled(),
        }
    };
    catalogue.items.iter().map(object).collect()
}

/// Loads the catalogue and decides.
pub async fn plan_prune(
    store: &Store,
    cluster: &str,
    options: &PruneOptions,
    clock: &dyn Clock,
) -> Result<(Plan, Catalogue)> {
    options.policy.check()?;
    let catalogue = Catalogue::load(store, cluster).await?;
    let before = result::applied(store, cluster).await?;
    let context = Context {
        now: clock.unix_ms() / 1_000,
        interval: options.interval,
        skew: store.server_date_skew().map(|ms| ms / 1_000),
        just_written: options.just_written.clone(),
        candidates_before: before.as_ref().and_then(|before| before.snapshots),
        fewer: options.fewer,
        policy_before: before.map(|before| before.policy),
        accepted: options.accepted.clone(),
    };
    Ok((plan(&objects(&catalogue), &options.policy, &context), catalogue))
}

/// Plans, takes the lease, plans again, and deletes what both plans want.
pub async fn prune(
    store: &Store,
    cluster: &str,
    options: &PruneOptions,
    clock: &dyn Clock,
) -> Result<Pruned> {
    let (seen, _) = plan_prune(store, cluster, options, clock).await?;
    if let Some(hash) = options.plan_hash.as_ref().filter(|hash| **hash != seen.hash) {
        return Err(Error::Refused(format!("the plan is {} now, not {hash}: look at it again", seen.hash)));
    }
    let mut done = Pruned { plan: seen, deleted: Vec::new(), locked: Vec::new(), changed: Vec::new() };
    if done.plan.deletions().is_empty() {
        if done.plan.gates.is_empty() {
            remember(store, cluster, options, &done).await;
        } else {
            count_up(store, cluster, &done).await;
        }
        return Ok(done);
    }
    let lease = format!("{cluster}/{LEASE}");
    take_lease(store, &lease, clock).await?;
    let worked = delete(store, cluster, options, clock, &mut done).await;
    give_back(store, &lease).await;
    worked?;
    remember(store, cluster, options, &done).await;
    Ok(done)
}

async fn delete(
    store: &Store,
    cluster: &str,
    options: &PruneOptions,
    clock: &dyn Clock,
    done: &mut Pruned,
) -> Result<()> {
    let (fresh, catalogue) = plan_prune(store, cluster, options, clock).await?;
    let wanted: HashSet<String> = done.plan.deletions().into_iter().map(str::to_owned).collect();
    let both: Vec<&str> = fresh.deletions().into_iter().filter(|id| wanted.contains(*id)).collect();
    let items: BTreeMap<String, &Item> =
        catalogue.items.iter().map(|item| (item.name.to_string(), item)).collect();
    // A named plan is exactly its deletions; otherwise what is due beyond the cap takes the place of what is locked.
    let waiting: HashSet<&str> = waiting(&done.plan);
    let is_open = options.plan_hash.is_none() && fresh.gates.is_empty();
    let spare = fresh.rows.iter().filter(|row| row.verdict == Verdict::Wait).map(|row| row.id.as_str());
    let spare: Vec<String> = spare.filter(|id| is_open && waiting.contains(id)).map(str::to_owned).collect();
    let (cap, tries) = (both.len(), both.len() * TRIES);
    for id in both.into_iter().chain(spare.iter().map(String::as_str)).take(tries) {
        if done.deleted.len() >= cap {
            break;
        }
        let item = items[id];
        if !is_unchanged(store, item).await? {
            done.changed.push(id.to_owned());
            continue;
        }
        let mut denied = false;
        for key in in_order(item) {
            match store.delete_all(std::slice::from_ref(&key)).await {
                Ok(()) => {}
                Err(store::Error::Denied { .. } | store::Error::Refused(_)) => {
                    denied = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if denied { done.locked.push(id.to_owned()) } else { done.deleted.push(id.to_owned()) }
    }
    Ok(())
}

/// What is due beyond the cap; nothing where a gate is closed.
fn waiting(plan: &Plan) -> HashSet<&str> {
    let rows = plan.rows.iter().filter(|row| plan.gates.is_empty() && row.verdict == Verdict::Wait);
    rows.map(|row| row.id.as_str()).collect()
}

/// The snapshot first, its manifest last.
fn in_order(item: &Item) -> Vec<String> {
    let rank = |key: &String| match crate::layout::Name::parse(key) {
        Some((_, Part::Sealed | Part::Plain)) => 0,
        Some((_, Part::Manifest)) => 2,
        _ => 1,
    };
    let mut keys = item.keys.clone();
    keys.sort_by_key(rank);
    keys
}

async fn is_unchanged(store: &Store, item: &Item) -> Result<bool> {
    let Some(payload) = &item.payload else { return Ok(true) };
    match store.head(&payload.key).await {
        Ok(now) => Ok((now.size, &now.etag) == (payload.size, &payload.etag)),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

async fn take_lease(store: &Store, key: &str, clock: &dyn Clock) -> Result<()> {
    let body = Bytes::from(clock::format_unix_ms(clock.unix_ms()));
    match store.put(key, body.clone(), &PutOptions::create()).await {
        Ok(_) => return Ok(()),
        Err(store::Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let held = store.head(key).await?;
    if held.size > 0 && clock.unix_ms() - held.modified_ms < LEASE_AGE_MS {
        return Err(Error::Busy(format!("another pruner holds {key}")));
    }
    let again = match store.delete_all(&[key.to_owned()]).await {
        Ok(()) => PutOptions::create(),
        Err(store::Error::Denied { .. } | store::Error::Refused(_)) => PutOptions::overwrite(),
        Err(error) => return Err(error.into()),
    };
    store.put(key, body, &again).await?;
    Ok(())
}

/// An empty lease is free: who may not delete at all shall still be told what is locked, run after run.
async fn give_back(store: &Store, key: &str) {
    if let Err(store::Error::Denied { .. } | store::Error::Refused(_)) =
        store.delete_all(&[key.to_owned()]).await
    {
        let _ = store.put(key, Bytes::new(), &PutOptions::overwrite()).await;
    }
}

fn is_candidate(state: State) -> bool {
    matches!(state, State::Verified | State::Unproven | State::Mismatch | State::Failed)
}

/// Numbers per state for metrics: kept, due, locked, foreign, partial, future, pinned.
pub fn tally(plan: &Plan) -> BTreeMap<String, u64> {
    use crate::retention::Keep;
    let mut tally: BTreeMap<String, u64> =
        ["kept", "due", "foreign", "partial", "future", "pinned", "locked"]
            .map(|name| (name.to_owned(), 0))
            .into();
    for row in &plan.rows {
        let name = match (&row.verdict, row.state) {
            (_, State::Foreign) => "foreign",
            (_, State::Partial | State::Orphan) => "partial",
            (Verdict::Delete | Verdict::Wait, _) => "due",
            (Verdict::Keep(reasons), _) if reasons.contains(&Keep::Future) => "future",
            (Verdict::Keep(reasons), _) if reasons.contains(&Keep::Pin) => "pinned",
            (Verdict::Keep(reasons), _) if reasons.contains(&Keep::Locked) => "locked",
            _ => "kept",
        };
        *tally.entry(name.to_owned()).or_default() += 1;
    }
    tally
}
