//! One tree of `restore init`: look, decide, claim, restore exactly up to the claim, hand over.
//!
//! Trap 4: the claim is made before the restore, so nobody can commit between what was restored and what the sidecar writes next.
//! Trap 13: a healthy tree with this replica's marker starts without the store, unclaimed. P6: an empty tree never does.

use super::decide::{Decision, Local, Policy, decide};
use super::execute::{Options, Progress, restore};
use super::is_unfinished;
use super::plan::{RestorePlan, Want};
use crate::catalogue::Catalogue;
use crate::claim::claim;
use crate::home::Home;
use crate::layout::Seq;
use crate::repo::{Identity, Repo};
use crate::scan::Scanner;
use crate::state::State;
use crate::write::blocking;
use crate::{Class, Error, Result};
use clock::{Clock, IdGen, UnixMs};
use protect::handover::Outcome;
use rustix::fs::FileType;
use seal::Identities;
use std::path::Path;
use std::sync::Arc;
use store::Store;

/// What was done with one tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InitOutcome {
    /// How the tree came to be.
    pub outcome: Outcome,
    /// Number of the claim; 0 if none was made.
    pub epoch: Seq,
    /// The snapshot the tree is the state of, or descends from; 0 if none.
    pub snapshot: Seq,
    /// Whether the claim was made.
    pub claimed: bool,
    /// Bytes of content restored; of a tree that was kept, 0.
    pub bytes: u64,
}

/// Prepares one tree for the start of an application. `at` asks for an older state.
#[allow(clippy::too_many_arguments, reason = "each is its own decision of the caller")]
pub async fn init(
    store: &Store,
    target: &Path,
    identity: &Identity,
    at: Option<UnixMs>,
    policy: Policy,
    identities: Option<Arc<Identities>>,
    options: Options,
    clock: &dyn Clock,
    ids: &dyn IdGen,
    progress: Arc<Progress>,
) -> Result<InitOutcome> {
    std::fs::create_dir_all(target).map_err(Error::io(target, "create"))?;
    let home = Home::of(target);
    let mut local = look(&home, &options).await?;
    let repo = match Repo::load(store).await {
        Ok(repo) => repo,
        // Cannot know is not nothing there; but a healthy tree of ours needs nothing from the store.
        Err(e)
            if e.class() == Class::Retriable
                && local.has_files
                && local.marker.is_some()
                && !local.unfinished =>
        {
            tracing::warn!(error = %e, "the store cannot be reached; the tree on the volume is kept and the claim comes later");
            let snapshot = local.marker.map_or(0, |m| m.snapshot);
            return Ok(InitOutcome { outcome: Outcome::Kept, epoch: 0, snapshot, claimed: false, bytes: 0 });
        }
        Err(e) => return Err(e),
    };
    if let Some(repo) = &repo {
        repo.check(identity)?;
    }
    let newest = match &repo {
        Some(_) => Catalogue::load(store).await?.newest_snapshot(store).await?,
        None => None,
    };
    // What would be restored must be readable here, before a claim fences whoever writes now.
    local.unchanged = unchanged(&home, &options).await?;
    let known = newest.as_ref().map(|h| (h.number, h.epoch));
    let lineage = repo.as_ref().map(|r| r.lineage.as_str());
    let decision = decide(&local, lineage, known, policy);
    if let Decision::Refuse(why) = decision {
        return Err(Error::refused(
            why,
            "choose with restore files --force, or keep the tree with config-syncer --adopt",
        ));
    }
    let restores = decision == Decision::Restore || at.is_some();
    if let (true, Some(head), None) = (restores, newest.as_ref().filter(|h| h.sealed), &identities) {
        return Err(crate::chest::no_identity(&format!("snapshot {}", head.number)));
    }
    let claim = claim(store, identity, clock, ids).await?;
    let snapshot = claim.snapshot.as_ref().map_or(0, |h| h.number);
    let done = |outcome, bytes| InitOutcome { outcome, epoch: claim.number, snapshot, claimed: true, bytes };
    if !restores {
        let outcome = if decision == Decision::FirstStart { Outcome::Fresh } else { Outcome::Kept };
        return Ok(done(outcome, 0));
    }
    let want = at.map_or(Want::Number(snapshot), Want::At);
    let plan = RestorePlan::new(store, want, &[], identities.as_deref()).await?;
    let options = Options { epoch: claim.number, force: true, ..options };
    restore(store, &plan, target, identities, &options, clock, progress).await?;
    let outcome = if at.is_some() { Outcome::Forced } else { Outcome::Restored };
    if at.is_some() && plan.head.number != snapshot {
        // The next commit goes on top of the newest one, with the older tree as its content.
        home.set_marker(&crate::Marker::new(&claim.lineage, snapshot, claim.number))?;
        State::forget(&home)?;
    }
    Ok(done(outcome, plan.bytes()))
}

async fn look(home: &Home, options: &Options) -> Result<Local> {
    let (root, filter) = (home.root().to_owned(), options.filter.clone());
    let scan =
        blocking(move || Scanner::new(&root).scan(&filter, crate::Time::default(), &mut |_| {})).await?;
    Ok(Local {
        has_files: scan.found.iter().any(|f| f.look.kind != FileType::Directory),
        marker: home.marker()?,
        unfinished: is_unfinished(home)?,
        unchanged: None,
    })
}

/// Whether the tree is what its own state says; `None` without one.
async fn unchanged(home: &Home, options: &Options) -> Result<Option<bool>> {
    let Some(state) = State::load(home)? else { return Ok(None) };
    if home.marker()?.is_none_or(|m| m.snapshot != state.manifest.number) {
        return Ok(None);
    }
    let (root, filter) = (home.root().to_owned(), options.filter.clone());
    blocking(move || super::execute::matches(&state.manifest, &root, &filter)).await.map(Some)
}
