//! What the start of a pod finds on the volume and in the store, before it decides.

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::identity::Lineage;
use crate::restore::init::decide::{Local, Observed, Replica, Tie};
use crate::restore::init::marks::{is_under_way, was_applied};
use crate::restore::init::{Task, local, tie};
use crate::restore::object::blocking;
use crate::restore::occupied;
use crate::restore::plan::RestorePlan;
use crate::restore::sealed::check_identity;
use crate::restore::target::parent;
use crate::state::StateDir;
use crate::write::Form;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use store::Progress;

/// Everything that was seen, kept for the doing.
pub(super) struct Look {
    pub(super) observed: Observed,
    pub(super) finding: Option<String>,
    pub(super) bytes: u64,
    pub(super) lineage: u64,
    pub(super) catalogue: Catalogue,
    /// It can be opened with an identity only.
    pub(super) sealed: bool,
    /// Why the store could not be asked, or the replica cannot give anything back.
    pub(super) trouble: Option<Error>,
    pub(super) state_dir: PathBuf,
}

impl Look {
    /// Refuses to restore a sealed replica without the identity that opens it, before anything is claimed.
    pub(super) async fn may_open(
        &self,
        task: &Task,
        plan: &RestorePlan,
        progress: &Arc<Progress>,
    ) -> Result<()> {
        if !self.sealed {
            return Ok(());
        }
        check_identity(&task.options.fetch(&task.store, progress.clone()), plan).await
    }
}

/// Looks at the volume and at the store.
pub(super) async fn look(task: &Task) -> Result<Look> {
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
                } else if is_under_way(&look.state_dir) {
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
