//! One tree of `restore init`: look, decide, claim, restore exactly up to the claim, hand over.
//!
//! The decision is a table ([`decide`]); here is the looking and the doing. Trap 4: the claim is made before the restore, so nobody can
//! commit between what was restored and what the sidecar writes next. Trap 13: a healthy tree with this replica's marker starts
//! without the store, unclaimed, after a short look. P6: an empty tree never does. A healthy tree costs a handful of small requests and
//! no reading of files: contents are compared only where another writer went on and the answer changes what is done.

mod look;

use super::Progress;
use super::decide::{Decision, Observed, Policy, Reason, decide};
use super::execute::{Options, Restored, restore_locked};
use super::on_top::put_on_top;
use super::plan::{RestorePlan, Want};
use crate::claim::{Claim, claim};
use crate::home::{Home, Lock, Marker};
use crate::layout::Seq;
use crate::repo::Identity;
use crate::state::State;
use crate::{Class, Error, Result};
use clock::{Clock, IdGen, UnixMs};
use look::{Look, look};
use protect::RestoreMode;
use protect::handover::Outcome;
use seal::{Identities, Protection};
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;

/// One tree of the pod.
#[derive(Debug, Clone)]
pub struct Task {
    /// The directory.
    pub root: PathBuf,
    /// Its replica.
    pub store: Store,
    /// The same for the first look, with few and short retries: a healthy tree of ours must not wait for a store (trap 13).
    pub first_look: Store,
    /// Whose replica it must be.
    pub identity: Identity,
    /// What the description says.
    pub mode: RestoreMode,
    /// The point `restore-at` names.
    pub at: Option<UnixMs>,
    /// A person's word, where there is one.
    pub policy: Policy,
    /// How the replica is written; an older point is committed anew.
    pub protection: Protection,
    /// Opens a sealed replica.
    pub identities: Option<Arc<Identities>>,
    /// Filter, requests and memory.
    pub options: Options,
    /// Name and version of the writer.
    pub writer: String,
}

/// What was done with one tree.
#[derive(Debug, Clone)]
pub struct InitOutcome {
    /// How the tree came to be.
    pub outcome: Outcome,
    /// Number of the claim; 0 if none was made.
    pub epoch: Seq,
    /// The snapshot the tree is the state of, or descends from; 0 if none.
    pub snapshot: Seq,
    /// Whether the claim was made.
    pub claimed: bool,
    /// Bytes of content of that snapshot.
    pub bytes: u64,
    /// What was written; `None` if the tree was left alone.
    pub restored: Option<Restored>,
}

/// The volume's note of the last `restore-at` that was applied: an RFC 3339 time as a JSON text.
const APPLIED: &str = "restore-at";
/// An old pod that still commits takes a number now and then; one that goes on doing so is not gone.
const CLAIM_AGAIN: u32 = 5;

/// Does it. A retriable error means that the store could not be asked: the caller decides how long it goes on trying.
pub async fn init(
    task: &Task,
    clock: &dyn Clock,
    ids: &dyn IdGen,
    progress: &Arc<Progress>,
) -> Result<InitOutcome> {
    let (home, lock) = enter(task)?;
    let seen = look(task, &home).await?;
    let decision = decide(&seen.observed, task.policy);
    tracing::debug!(root = %task.root.display(), observed = ?seen.observed, ?decision, "decided");
    let starting = Starting { task, home: &home, lock: &lock, clock, ids, progress };
    match decision {
        Decision::KeepUnclaimed => Ok(keep_unclaimed(task, &seen)),
        Decision::Keep => starting.keep(&seen, Outcome::Kept, false).await,
        Decision::Adopt => starting.keep(&seen, Outcome::Kept, true).await,
        Decision::Fresh => starting.keep(&seen, Outcome::Fresh, false).await,
        Decision::Restore => starting.restore().await,
        Decision::RestoreAt => starting.restore_at().await,
        Decision::Retry | Decision::Damaged => Err(seen.trouble.expect("the look says why it found nothing")),
        Decision::Refuse(reason) => Err(refusal(task, &seen, reason)),
    }
}

/// What [`init`] would do. Asks the store, claims and changes nothing but the directory of our own.
pub async fn would(task: &Task) -> Result<(Observed, Decision)> {
    let (home, _lock) = enter(task)?;
    let seen = look(task, &home).await?;
    Ok((seen.observed, decide(&seen.observed, task.policy)))
}

/// True if asking again later may help.
pub fn is_worth_retrying(error: &Error) -> bool {
    matches!(error, Error::Store(_)) && error.class() == Class::Retriable
}

fn enter(task: &Task) -> Result<(Home, Lock)> {
    std::fs::create_dir_all(&task.root).map_err(Error::io(&task.root, "create"))?;
    let home = Home::of(&task.root);
    let lock = home.lock()?;
    Ok((home, lock))
}

fn keep_unclaimed(task: &Task, seen: &Look) -> InitOutcome {
    let why = seen.trouble.as_ref().map_or_else(String::new, ToString::to_string);
    tracing::warn!(root = %task.root.display(), why, "starting without the replica; the sidecar will claim");
    let outcome = if seen.has_files() { Outcome::Kept } else { Outcome::Fresh };
    let snapshot = seen.marker.as_ref().map_or(0, |m| m.snapshot);
    InitOutcome { outcome, epoch: 0, snapshot, claimed: false, bytes: 0, restored: None }
}

/// A start that may claim.
struct Starting<'a> {
    task: &'a Task,
    home: &'a Home,
    lock: &'a Lock,
    clock: &'a dyn Clock,
    ids: &'a dyn IdGen,
    progress: &'a Arc<Progress>,
}

impl Starting<'_> {
    /// Leaves the tree alone. With `adopt` it counts as descended from the newest snapshot from now on.
    async fn keep(&self, seen: &Look, outcome: Outcome, adopt: bool) -> Result<InitOutcome> {
        let claim = self.claim().await?;
        let snapshot = claim.snapshot.as_ref().map_or(0, |head| head.number);
        // A marked tree at a place where nothing is: a new replica begins here, with all that the tree holds.
        let elsewhere = seen.marker.as_ref().is_some_and(|marker| marker.lineage != claim.lineage);
        if adopt || elsewhere {
            tracing::warn!(root = %self.task.root.display(), lineage = claim.lineage, snapshot, "the tree goes on here from now on");
            State::forget(self.home)?;
            self.home.set_marker(&Marker::new(&claim.lineage, snapshot, claim.number))?;
        }
        let bytes = claim.snapshot.as_ref().map_or(0, |head| head.bytes);
        Ok(InitOutcome { outcome, epoch: claim.number, snapshot, claimed: true, bytes, restored: None })
    }

    async fn restore(&self) -> Result<InitOutcome> {
        let identities = self.task.identities.as_deref();
        // What would be restored must be readable here before a claim fences whoever writes now.
        let mut plan = RestorePlan::new(&self.task.store, Want::Newest, &[], identities).await?;
        let claim = self.claim().await?;
        let newest = claim.snapshot.as_ref().map_or(0, |head| head.number);
        if plan.head.number != newest {
            plan = RestorePlan::new(&self.task.store, Want::Number(newest), &[], identities).await?;
        }
        let restored = self.write(&plan, &claim).await?;
        Ok(done(Outcome::Restored, &claim, newest, restored))
    }

    /// Once per value: what is there is moved aside, the point is restored, committed as the newest, and noted on the volume last.
    async fn restore_at(&self) -> Result<InitOutcome> {
        let task = self.task;
        let at = task.at.expect("only a named point is restored by name");
        let plan = RestorePlan::new(&task.store, Want::At(at), &[], task.identities.as_deref()).await?;
        let claim = self.claim().await?;
        let restored = self.write(&plan, &claim).await?;
        let newest = claim.snapshot.as_ref().map_or(0, |head| head.number);
        let sealed = matches!(task.protection, Protection::Sealed(_));
        let steps = &task.options.steps;
        let mut number = plan.head.number;
        if number != newest && plan.head.sealed == sealed {
            steps.at("put the older tree on top")?;
            let (store, protection) = (&task.store, &task.protection);
            let (head, manifest) =
                put_on_top(store, &plan.manifest, &claim, protection, &task.writer, self.clock, self.ids)
                    .await?;
            number = head.number;
            steps.at("remember the new number")?;
            if let Some(mut state) = State::load(self.home)? {
                (state.manifest, state.last_number) = (manifest, number);
                state.heads.insert(number, head);
                state.save(self.home)?;
            }
            self.home.set_marker(&Marker::new(&claim.lineage, number, claim.number))?;
        } else if number != newest {
            // Sealed then and plain now, or the other way round: the writer sends everything anew, after its guards.
            number = newest;
            State::forget(self.home)?;
            self.home.set_marker(&Marker::new(&claim.lineage, newest, claim.number))?;
        }
        steps.at("note the point")?;
        self.home.set_document(APPLIED, &clock::format_unix_ms(at))?;
        Ok(done(Outcome::Forced, &claim, number, restored))
    }

    async fn write(&self, plan: &RestorePlan, claim: &Claim) -> Result<Restored> {
        let task = self.task;
        let options = Options { epoch: claim.number, force: true, ..task.options.clone() };
        let (identities, progress) = (task.identities.clone(), self.progress.clone());
        restore_locked(&task.store, plan, &task.root, identities, &options, self.clock, progress, self.lock)
            .await
    }

    /// Claims; whoever took the number first has moved the end of the replica, and the claim goes behind that (trap 4).
    async fn claim(&self) -> Result<Claim> {
        let mut attempts = 0;
        loop {
            self.task.options.steps.at("claim")?;
            match claim(&self.task.store, &self.task.identity, self.clock, self.ids).await {
                Err(error) if error.is_fenced() && attempts < CLAIM_AGAIN => {
                    attempts += 1;
                    tracing::warn!(root = %self.task.root.display(), %error, "another writer was quicker; claiming again");
                }
                done => return done,
            }
        }
    }
}

fn done(outcome: Outcome, claim: &Claim, snapshot: Seq, restored: Restored) -> InitOutcome {
    let bytes = restored.bytes;
    InitOutcome { outcome, epoch: claim.number, snapshot, claimed: true, bytes, restored: Some(restored) }
}

fn refusal(task: &Task, seen: &Look, reason: Reason) -> Error {
    let root = task.root.display();
    let newest = seen.newest.as_ref().map_or(0, |head| head.number);
    let marker = seen.marker.as_ref();
    let descends = marker.map_or(0, |m| m.snapshot);
    let choice = "choose with --on-conflict restore (what is replaced is moved aside) or --on-conflict keep";
    let (what, hint) = match reason {
        Reason::Unknown => (
            format!("{root} has files and no marker, and the replica holds snapshot {newest}"),
            choice.into(),
        ),
        Reason::Behind => (
            format!(
                "{root} descends from snapshot {descends}, another writer went on to {newest}, and it was changed since"
            ),
            choice.into(),
        ),
        Reason::Foreign => (
            format!(
                "{root} belongs to replica {} and not to {}",
                marker.map_or("?", |m| m.lineage.as_str()),
                seen.lineage.as_deref().unwrap_or("?")
            ),
            "check bucket and prefix; to give the tree to this replica, remove its .highwater/files-replica"
                .into(),
        ),
        Reason::ReplicaGone => (
            format!(
                "{root} remembers snapshot {descends}, and neither files nor snapshots are there any more"
            ),
            "check bucket and prefix; remove its .highwater/files-replica to start with nothing".into(),
        ),
        Reason::HalfAndGone => (
            format!("a restore into {root} was begun, and the replica holds no snapshot to end it with"),
            "check bucket and prefix".into(),
        ),
        Reason::HalfAndNever => (
            format!("a restore into {root} was begun and not ended, and restore is set to never"),
            "set restore to auto, or end it with `restore files`".into(),
        ),
        Reason::Required => (
            format!("restore is set to require, and there is nothing to restore {root} from"),
            "check bucket and prefix, or set restore to auto for a first deployment".into(),
        ),
        Reason::NothingAt => (
            format!("restore-at names a point, and there is nothing to restore {root} from"),
            "check bucket and prefix, or remove restore-at".into(),
        ),
    };
    Error::Refused { what, hint }
}
