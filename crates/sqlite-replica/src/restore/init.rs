//! The start of a pod, for one database: look, decide, claim, and bring the file into the state of the claim.
//!
//! The decision is a table ([`decide`]); everything around it is looking and doing. The order is what keeps the promises: the claim comes
//! before the restore, and the restore goes exactly up to it (trap 4: whatever an old pod still sends afterwards collides); what is
//! replaced is set aside before the new file gets its name; a point of `restore-at` is remembered on the volume once it is in
//! place, so that it is applied once. Every step may be cut off and begun again.

mod aside;
mod decide;
mod local;
mod tie;

pub use decide::{Action, Local, Observed, Reason, Replica, Tie, decide};
pub use local::remember_good;

use crate::catalogue::Catalogue;
use crate::claim::{Basis, Claim, Claimant};
use crate::error::{Class, Error, Result};
use crate::identity::{Identity, Lineage};
use crate::origin::Origin;
use crate::owner::Owner;
use crate::restore::execute::RestoreOptions;
use crate::restore::integrity::Integrity;
use crate::restore::object::blocking;
use crate::restore::occupied;
use crate::restore::plan::RestorePlan;
use crate::restore::recover::{Goal, Recovery};
use crate::restore::sealed::check_identity;
use crate::restore::target::parent;
use crate::state::StateDir;
use crate::write::Form;
use aside::set_aside;
use clock::{Clock, IdGen, UnixMs};
use ltx::Txid;
use protect::RestoreMode;
use protect::handover::Outcome;
use seal::Protection;
use std::fs;
use std::path::{Path, PathBuf};
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

/// Everything that was seen, kept for the doing.
struct Look {
    observed: Observed,
    finding: Option<String>,
    bytes: u64,
    lineage: u64,
    catalogue: Catalogue,
    /// It can be opened with an identity only.
    sealed: bool,
    /// Why the store could not be asked, or the replica cannot give anything back.
    trouble: Option<Error>,
    state_dir: PathBuf,
}

impl Look {
    /// Refuses to restore a sealed replica without the identity that opens it, before anything is claimed.
    async fn may_open(&self, task: &Task, plan: &RestorePlan, progress: &Arc<Progress>) -> Result<()> {
        if !self.sealed {
            return Ok(());
        }
        check_identity(&task.options.fetch(&task.store, progress.clone()), plan).await
    }
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
            let _ = fs::remove_file(look.state_dir.join(UNDER_WAY));
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

async fn look(task: &Task) -> Result<Look> {
    let database = &task.database;
    fs::create_dir_all(parent(database)).map_err(Error::io(parent(database), "create"))?;
    occupied::refuse_open(database)?;
    let state_dir = StateDir::path_for(database);
    // Opened to be sure that no streamer holds it, closed so that the claim can.
    let record = StateDir::open(&state_dir)?.record().cloned();
    let found = {
        let (database, state_dir, depth) = (database.clone(), state_dir.clone(), task.integrity);
        blocking(move || local::look(&database, &state_dir, depth)).await?
    };
    let mut look = Look {
        observed: Observed {
            local: found.local,
            remembers: record.as_ref().is_some_and(|r| r.confirmed > 0),
            tie: Tie::Unknown,
            replica: Replica::Unreachable,
            mode: task.mode,
            at: task.at.is_some_and(|at| !was_applied(&state_dir, at)),
        },
        finding: found.finding,
        bytes: found.bytes,
        lineage: record.as_ref().map_or(0, |r| r.lineage),
        catalogue: Catalogue::default(),
        sealed: false,
        trouble: None,
        state_dir,
    };
    match replica(task).await {
        Ok((catalogue, lineage)) => {
            let replica = match RestorePlan::new(&catalogue, None) {
                Ok(_) => Replica::History,
                Err(Error::Nothing { .. }) if catalogue.has_lineage => Replica::Begun,
                Err(Error::Nothing { .. }) => Replica::Absent,
                Err(damaged) => {
                    look.trouble = Some(damaged);
                    Replica::Damaged
                }
            };
            if replica == Replica::History && found.local == Local::Healthy {
                look.observed.tie = if tie::is_restored(task, &look.state_dir, &catalogue).await? {
                    Tie::Restored
                } else if look.state_dir.join(UNDER_WAY).exists() {
                    Tie::LostLast
                } else {
                    tie::find(task, record.as_ref(), &catalogue, lineage.as_ref()).await?
                };
            }
            look.observed.replica = replica;
            look.sealed = lineage.is_some_and(|lineage| lineage.sealed);
            look.catalogue = catalogue;
        }
        Err(error @ Error::Store(_)) => look.trouble = Some(error),
        Err(other) => return Err(other),
    }
    Ok(look)
}

/// The store's side; a replica of somebody else is refused whatever the volume holds (P4).
async fn replica(task: &Task) -> Result<(Catalogue, Option<Lineage>)> {
    let catalogue = Catalogue::load(&task.first_look).await?;
    let lineage = if catalogue.has_lineage { Lineage::load(&task.store).await? } else { None };
    if let Some(lineage) = &lineage {
        lineage.check(&task.identity)?;
        lineage.check_form(&Form::new(&task.protection))?;
    }
    if catalogue.has_generations && catalogue.entries.is_empty() {
        return Err(Error::Refused {
            what: "the replica holds Litestream 0.3 generations only, which a pod cannot continue".into(),
            hint:
                "restore them once with `restore sqlite`, and choose a prefix of its own for the new replica"
                    .into(),
        });
    }
    Ok((catalogue, lineage))
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

const APPLIED: &str = "restore-at";
/// There while a restore is under way, from before the claim until the file is in place: the claim's record no longer says what the
/// file was, so that a start which finds this restores again.
const UNDER_WAY: &str = "restoring";

fn begin(state_dir: &Path) -> Result<()> {
    let path = state_dir.join(UNDER_WAY);
    let made = fs::File::create(&path)
        .and_then(|f| f.sync_all())
        .and_then(|()| fs::File::open(state_dir)?.sync_all());
    made.map_err(Error::io(&path, "write"))
}

fn end(state_dir: &Path) -> Result<()> {
    let path = state_dir.join(UNDER_WAY);
    fs::remove_file(&path).map_err(Error::io(&path, "remove"))
}

fn was_applied(state_dir: &Path, at: UnixMs) -> bool {
    fs::read_to_string(state_dir.join(APPLIED)).is_ok_and(|text| clock::parse_unix_ms(&text) == Some(at))
}

fn remember_applied(state_dir: &Path, at: UnixMs) -> Result<()> {
    let path = state_dir.join(APPLIED);
    fs::write(&path, clock::format_unix_ms(at) + "\n").map_err(Error::io(&path, "write"))?;
    fs::File::open(&path).and_then(|f| f.sync_all()).map_err(Error::io(&path, "sync"))
}

fn refusal(task: &Task, look: &Look, reason: Reason) -> Error {
    let database = task.database.display();
    let finding = look.finding.as_deref().unwrap_or("SQLite does not accept it");
    let finding = finding.lines().next().unwrap_or_default();
    let newest = look.catalogue.newest().map_or_else(String::new, |txid| format!(" (newest TXID {txid})"));
    let aside = format!("move {database} and its -wal away to restore the replica");
    let adopt = "run `wal-streamer replicate --adopt --once` on this volume to go on from the local data";
    let (what, hint) = match reason {
        Reason::CorruptWithoutReplica => (
            format!("{database} is corrupt ({finding}), and the replica holds nothing to restore"),
            "repair it by hand (sqlite3 .recover), or move it away to start with nothing".into(),
        ),
        Reason::CorruptAndNever => (
            format!("{database} is corrupt ({finding}), and restore is set to never"),
            "set restore to auto, or move the file away to start with nothing".into(),
        ),
        Reason::Required => (
            format!("restore is set to require, and there is nothing to restore {database} from"),
            "check bucket and prefix, or set restore to auto for a first deployment".into(),
        ),
        Reason::ReplicaGone => (
            format!(
                "this volume remembers a replica of {database}, and neither the file nor the replica is there any more"
            ),
            format!("check bucket and prefix; remove {} to start with nothing", look.state_dir.display()),
        ),
        Reason::Behind => (
            format!(
                "the replica{newest} went on without this volume: it was rolled back, or another pod has written since"
            ),
            format!("{aside}, or {adopt}"),
        ),
        Reason::Stranger => (
            format!("{database} continues another replica than the one described{newest}"),
            format!("check bucket and prefix; {aside}, or {adopt}"),
        ),
        Reason::Unknown => (
            format!(
                "{database} is not the newest state of the replica{newest}, and this volume does not remember one"
            ),
            format!("{aside}, or {adopt}"),
        ),
        Reason::NothingAt => (
            format!("restore-at names a point, and there is nothing to restore {database} from"),
            "check bucket and prefix, or remove restore-at".into(),
        ),
    };
    Error::Refused { what, hint }
}

/// True if asking again later may help.
pub fn is_worth_retrying(error: &Error) -> bool {
    matches!(error, Error::Store(_)) && error.class() == Class::Retriable
}
