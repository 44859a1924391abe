//! The start of a pod, for one database: look, decide, claim, and bring the file into the state of the claim.
//!
//! The decision is a table ([`decide`]); everything around it is looking and doing. The order is what keeps the promises: the claim comes
//! before the restore, and the restore goes exactly up to it (trap 4: whatever an old pod still sends afterwards collides); what is
//! replaced is set aside before the new file gets its name; a point of `restore-at` is remembered on the volume once it is in
//! place, so that it is applied once. Every step may be cut off and begun again.

mod aside;
mod decide;
mod local;
mod look;
mod marks;
mod refusal;
mod tie;

pub use decide::{Action, Local, Observed, Reason, Replica, Tie, decide};
pub use local::remember_good;

use crate::catalogue::Catalogue;
use crate::claim::{Basis, Claim, Claimant};
use crate::error::{Class, Error, Result};
use crate::identity::Identity;
use crate::origin::Origin;
use crate::owner::Owner;
use crate::restore::execute::RestoreOptions;
use crate::restore::integrity::Integrity;
use crate::restore::object::blocking;
use crate::restore::recover::{Goal, Recovery};
use crate::restore::target::parent;
use crate::state::StateDir;
use aside::set_aside;
use clock::{Clock, IdGen, UnixMs};
use look::{Look, look};
use ltx::Txid;
use marks::{begin, end, remember_applied};
use protect::RestoreMode;
use protect::handover::Outcome;
use refusal::refusal;
use seal::Protection;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use store::{Progress, Store};

/// One database of the pod.
#[derive(Debug, Clone)]
pub struct Task {
    /// The file.
    pub database: PathBuf,
    /// Its replica.
    pub store: Store,
    /// The same for the first look, with few and short retries: healthy data of a known history must not wait for a store (trap 13).
    pub first_look: Store,
    /// URL of the replica, for messages.
    pub url: String,
    /// Whose replica it must be.
    pub identity: Identity,
    /// What the description says.
    pub mode: RestoreMode,
    /// The point `restore-at` names.
    pub at: Option<UnixMs>,
    /// How local data and the result are checked.
    pub integrity: Integrity,
    /// Requests and memory, and what opens a sealed replica.
    pub options: RestoreOptions,
    /// How the replica is written.
    pub protection: Protection,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Done {
    /// How the file came to be as it is.
    pub outcome: Outcome,
    /// The claim; `None` if the store could not be asked.
    pub claim: Option<Claim>,
    /// What the volume remembers of the history, where no claim was made.
    pub lineage: u64,
    /// Bytes of the database.
    pub bytes: u64,
    /// The point that was restored.
    pub restored: Option<crate::restore::execute::Restored>,
    /// Where what was there is now.
    pub aside: Option<PathBuf>,
}

/// Does it. A retriable error means that the store could not be asked: the caller decides how long it goes on trying.
pub async fn init(task: &Task, clock: &dyn Clock, ids: &dyn IdGen, progress: &Arc<Progress>) -> Result<Done> {
    let claimant = Claimant {
        store: &task.store,
        replica: &task.url,
        identity: &task.identity,
        clock,
        ids,
        protection: &task.protection,
    };
    let look = look(task).await?;
    let action = decide(&look.observed);
    tracing::debug!(database = %task.database.display(), observed = ?look.observed, ?action, "decided");
    let mut done = Done {
        outcome: Outcome::Kept,
        claim: None,
        lineage: look.lineage,
        bytes: look.bytes,
        restored: None,
        aside: None,
    };
    match action {
        Action::KeepUnclaimed => {
            let why = look.trouble.as_ref().map_or_else(String::new, ToString::to_string);
            tracing::warn!(database = %task.database.display(), why, "starting without the store; the sidecar will claim");
            if look.observed.local != Local::Healthy {
                done.outcome = Outcome::Fresh;
            }
        }
        Action::Keep | Action::Fresh => {
            done.claim = Some(claim(task, &claimant, Basis::Kept).await?);
            if action == Action::Fresh {
                done.outcome = Outcome::Fresh;
            }
        }
        Action::GoOn => {
            done.claim = Some(claim(task, &claimant, Basis::GoneOn).await?);
            // What the start of a pod left unfinished before is over: the file is somebody's decision.
            let _ = end(&look.state_dir);
            Origin::forget(&look.state_dir);
        }
        Action::Restore => {
            // Proven restorable before anything is claimed or moved, as far as a listing goes.
            let way = Recovery::new(&task.store, look.catalogue.clone(), false).way(Goal::Newest).await?;
            look.may_open(task, &way.plan, progress).await?;
            begin(&look.state_dir)?;
            let made = claim(task, &claimant, Basis::Restored).await?;
            let goal = Txid::new(made.txid).map_or(Goal::Newest, Goal::Txid);
            bring(task, &look, goal, &mut done, clock, progress).await?;
            claimant.restored(&task.database, done.restored.as_ref().map(|restored| restored.rolling))?;
            end(&look.state_dir)?;
            (done.claim, done.outcome) = (Some(made), Outcome::Restored);
        }
        Action::RestoreAt => {
            let at = task.at.expect("only a named point is restored by name");
            let way = Recovery::new(&task.store, look.catalogue.clone(), false).way(Goal::Time(at)).await?;
            look.may_open(task, &way.plan, progress).await?;
            begin(&look.state_dir)?;
            let made = claim(task, &claimant, Basis::Forced).await?;
            bring(task, &look, Goal::Txid(way.wanted), &mut done, clock, progress).await?;
            claimant.restored(&task.database, None)?;
            remember_applied(&look.state_dir, at)?;
            end(&look.state_dir)?;
            (done.claim, done.outcome) = (Some(made), Outcome::Forced);
        }
        Action::Retry => return Err(look.trouble.expect("a store that cannot be asked said why")),
        Action::Damaged => return Err(look.trouble.expect("a damaged replica was found by an error")),
        Action::Refuse(reason) => return Err(refusal(task, &look, reason)),
    }
    Ok(done)
}

/// Claims; whoever took the number first has moved the end of the replica, and the claim goes behind that (trap 4).
async fn claim(task: &Task, claimant: &Claimant<'_>, basis: Basis) -> Result<Claim> {
    let mut attempts = 0;
    loop {
        match claimant.claim(&task.database, basis).await {
            Err(Error::Store(error)) if error.is_fenced() && attempts < CLAIM_AGAIN => {
                attempts += 1;
                tracing::warn!(database = %task.database.display(), %error, "another writer was quicker; claiming again");
            }
            done => return done,
        }
    }
}

/// An old pod that still sends takes a number now and then; one that goes on doing so is not gone.
const CLAIM_AGAIN: u32 = 5;

/// What [`init`] would do. Asks the store, claims and changes nothing.
pub async fn would(task: &Task) -> Result<(Observed, Action)> {
    let look = look(task).await?;
    Ok((look.observed, decide(&look.observed)))
}

/// Sets aside what is there and restores `goal` in its place, with owner and mode.
async fn bring(
    task: &Task,
    look: &Look,
    goal: Goal,
    done: &mut Done,
    clock: &dyn Clock,
    progress: &Arc<Progress>,
) -> Result<()> {
    // The claim is in the store now, so the listing is made anew.
    let (catalogue, owner) = tokio::try_join!(Catalogue::load(&task.store), Owner::load(&task.store))?;
    let ready = task.database.with_file_name(format!(
        "{}.restored",
        task.database.file_name().unwrap_or_default().to_string_lossy()
    ));
    let _ = fs::remove_file(&ready);
    let mut options = task.options.clone();
    options.integrity = task.integrity;
    options.table = (!look.observed.at).then(|| StateDir::table_in(&look.state_dir));
    let recovered =
        Recovery::new(&task.store, catalogue, false).restore(goal, &ready, &options, progress).await?;
    let reason = match (look.observed.at, look.observed.local) {
        (true, _) => "restore-at",
        (_, Local::Corrupt) => "corrupt",
        (_, Local::Healthy) => "lost-commits",
        (_, Local::Missing | Local::Empty) => "left-over",
    };
    let (database, state_dir, now) = (task.database.clone(), look.state_dir.clone(), clock.unix_ms());
    done.aside = blocking(move || {
        if let Some(owner) = &owner {
            owner.apply(&ready)?;
        }
        let aside = set_aside(&database, &state_dir, reason, now)?;
        fs::rename(&ready, &database).map_err(Error::io(&database, "rename into place"))?;
        let dir = parent(&database);
        fs::File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io(dir, "sync"))?;
        remember_good(&database, &state_dir)?;
        Ok(aside)
    })
    .await?;
    done.bytes = recovered.restored.bytes;
    done.restored = Some(recovered.restored);
    Ok(())
}

/// True if asking again later may help.
pub fn is_worth_retrying(error: &Error) -> bool {
    matches!(error, Error::Store(_)) && error.class() == Class::Retriable
}
