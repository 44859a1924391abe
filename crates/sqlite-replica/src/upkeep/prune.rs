//! Carries out a retention plan, for a running writer and for `prune` by hand.
//!
//! Dumb and resumable: it deletes what the plan names, in its order. Deleting is idempotent, and any prefix of a checked plan leaves a
//! replica that restores as before. A store that does not let us delete is a number in the result, not an error (P3: lifecycle
//! rules may do it).

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::layout::{Layout, Level, PROOFS, image_key, parse_proven, proven_key};
use crate::proven::Proven;
use crate::upkeep::holdings::{Holding, Holdings};
use crate::upkeep::policy::Policy;
use crate::upkeep::retention::RetentionPlan;
use clock::Clock;
use ltx::Txid;
use std::collections::BTreeSet;
use store::Store;

/// What a retention run did.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// What is gone.
    pub gone: Vec<Holding>,
    /// What the store would not delete, and why of the first.
    pub failed: usize,
    /// The first failure.
    pub error: Option<store::Error>,
    /// Marks of proofs that are gone.
    pub proofs: BTreeSet<Txid>,
}

/// Plans a retention run over a replica nobody follows in this process: lists it, reads the note of the last proof.
pub async fn plan_prune(store: &Store, policy: &Policy, clock: &dyn Clock) -> Result<RetentionPlan> {
    let catalogue = Catalogue::load(store).await?;
    let mut holdings = Holdings::from(&catalogue);
    if catalogue.has_proof
        && let Some(proof) = Proven::load(store).await?
    {
        holdings.noted = proof.txid();
        holdings.proven = holdings.proven.max(holdings.noted);
    }
    let plan = RetentionPlan::new(&holdings, policy, super::store_now(store, clock));
    plan.check(&holdings).map_err(refused)?;
    Ok(plan)
}

/// The marks that proofs from outside have left by now: one listing, of a few objects.
pub(crate) async fn marks(store: &Store) -> Result<BTreeSet<Txid>> {
    let marks = store.list_all(PROOFS).await?;
    Ok(marks.iter().filter_map(|mark| parse_proven(&mark.key)).collect())
}

/// Carries out a plan. The caller has checked it.
pub async fn prune(store: &Store, plan: &RetentionPlan) -> Pruned {
    let layout = Layout::of(store.kind());
    let files: Vec<Holding> = plan.deletions.iter().map(|d| d.file).collect();
    let keys: Vec<String> = files.iter().map(|h| h.key(layout)).collect();
    let mut pruned = Pruned::default();
    for (file, deleted) in files.into_iter().zip(store.delete(&keys).await) {
        match deleted.result {
            Ok(()) => pruned.gone.push(file),
            Err(e) => {
                pruned.failed += 1;
                pruned.error.get_or_insert(e);
            }
        }
    }
    // The marks of images that are gone; one that stays behind names a file that is not there, which costs nothing.
    let marked = |h: &&Holding| h.level == Level::SYNC && plan.marks.contains(&h.name.min);
    let marks: Vec<String> = pruned.gone.iter().filter(marked).map(|h| image_key(h.name.min)).collect();
    if !marks.is_empty() {
        store.delete(&marks).await;
    }
    // Only with the points they name: a file that stayed may be one.
    if pruned.failed == 0 && !plan.proofs.is_empty() {
        let keys: Vec<String> = plan.proofs.iter().map(|txid| proven_key(*txid)).collect();
        for (txid, deleted) in plan.proofs.iter().zip(store.delete(&keys).await) {
            match deleted.result {
                Ok(()) => drop(pruned.proofs.insert(*txid)),
                Err(e) => {
                    pruned.failed += 1;
                    pruned.error.get_or_insert(e);
                }
            }
        }
    }
    pruned
}

/// A plan that breaks a guard is a bug of the planner: nothing is deleted.
pub(crate) fn refused(rule: String) -> Error {
    Error::Refused {
        what: format!("the retention plan was refused by its guard: {rule}"),
        hint: "nothing was deleted; this is a bug, please report it".into(),
    }
}
