//! The looking: the volume, the store with short patience, and how the two stand to each other.

use super::super::decide::{Local, Observed, Replica, Tie};
use super::super::is_unfinished;
use super::super::same::matches;
use super::{APPLIED, Task};
use crate::catalogue::Catalogue;
use crate::home::{Home, Marker};
use crate::manifest::Head;
use crate::repo::Repo;
use crate::scan::Scanner;
use crate::state::State;
use crate::write::blocking;
use crate::{Class, Error, Result};
use store::Store;

/// Everything that was seen, kept for the doing.
pub(super) struct Look {
    pub(super) observed: Observed,
    pub(super) marker: Option<Marker>,
    /// The replica's history.
    pub(super) lineage: Option<String>,
    /// Its newest snapshot.
    pub(super) newest: Option<Head>,
    /// Why the store could not be asked, or the replica cannot be read.
    pub(super) trouble: Option<Error>,
}

impl Look {
    pub(super) fn has_files(&self) -> bool {
        self.observed.local == Local::Files
    }
}

pub(super) async fn look(task: &Task, home: &Home) -> Result<Look> {
    let marker = home.marker()?;
    let local = match is_unfinished(home)? {
        true => Local::Half,
        false => {
            let (root, filter) = (task.root.clone(), task.options.filter.clone());
            match blocking(move || Scanner::new(&root).has_files(&filter)).await? {
                true => Local::Files,
                false => Local::Empty,
            }
        }
    };
    let applied: Option<String> = home.document(APPLIED)?;
    let applied = applied.and_then(|text| clock::parse_unix_ms(&text));
    let mut look = Look {
        observed: Observed {
            local,
            remembers: marker.as_ref().is_some_and(|m| m.snapshot > 0),
            tie: if marker.is_some() { Tie::Current } else { Tie::Unmarked },
            replica: Replica::Unreachable,
            mode: task.mode,
            at: task.at.is_some_and(|at| applied != Some(at)),
        },
        marker,
        lineage: None,
        newest: None,
        trouble: None,
    };
    match replica(&task.first_look, task).await {
        Ok((replica, lineage, newest)) => {
            (look.observed.replica, look.lineage, look.newest) = (replica, lineage, newest);
            look.observed.tie = tie(task, home, &look).await?;
        }
        Err(error) if error.class() == Class::Damaged => {
            (look.observed.replica, look.trouble) = (Replica::Damaged, Some(error));
        }
        Err(error @ Error::Store(_)) => look.trouble = Some(error),
        Err(other) => return Err(other),
    }
    Ok(look)
}

/// The store's side; a replica of somebody else is refused whatever the volume holds (P4).
async fn replica(store: &Store, task: &Task) -> Result<(Replica, Option<String>, Option<Head>)> {
    let repo = Repo::load(store).await?;
    let catalogue = Catalogue::load(store).await?;
    let Some(repo) = repo else {
        return match catalogue.numbers.len() {
            0 => Ok((Replica::Absent, None, None)),
            n => Err(Error::damaged(format!("{n} commits are there and {} is missing", crate::REPO_KEY))),
        };
    };
    repo.check(&task.identity)?;
    let newest = catalogue.newest_snapshot(store).await?;
    let replica = if newest.is_some() { Replica::History } else { Replica::Begun };
    Ok((replica, Some(repo.lineage), newest))
}

async fn tie(task: &Task, home: &Home, look: &Look) -> Result<Tie> {
    let (Some(marker), Some(lineage)) = (&look.marker, &look.lineage) else { return Ok(look.observed.tie) };
    if marker.lineage != *lineage {
        return Ok(Tie::Foreign);
    }
    let went_on = |newest: &&Head| newest.number > marker.snapshot && newest.epoch != marker.epoch;
    if look.newest.as_ref().filter(went_on).is_none() {
        return Ok(Tie::Current);
    }
    // Reads every file, so only where it decides something.
    let matters = look.has_files() && !(look.observed.at && task.mode != protect::RestoreMode::Never);
    match matters && is_unchanged(task, home, marker).await? {
        true => Ok(Tie::Unchanged),
        false => Ok(Tie::Behind),
    }
}

/// Whether the tree is exactly what its own state says; without one that is not known.
async fn is_unchanged(task: &Task, home: &Home, marker: &Marker) -> Result<bool> {
    let Some(state) = State::load(home)? else { return Ok(false) };
    if marker.snapshot != state.manifest.number {
        return Ok(false);
    }
    let (root, filter) = (task.root.clone(), task.options.filter.clone());
    blocking(move || matches(&state.manifest, &root, &filter)).await
}
