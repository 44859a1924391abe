//! What a start does with a tree: a pure function from what was observed to what is done (P2, P3, P6).
//!
//! `decide/table.txt` is its specification and is run as a test. Lineage decides: which snapshot is the local tree descended from?
//! Never mtimes: a fresh default file is newer than the real backup, and an old backup may be newer than what it would overwrite.
//! The rules are those of databases (decision 0007): what continues the replica stays; nothing starts on nothing where there was
//! something; where both sides may hold what the other lacks, a person decides, and [`Policy`] is his word.

use protect::RestoreMode;

/// What lies on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// No file (databases and what is excluded do not count).
    Empty,
    /// A restore was begun and not ended.
    Half,
    /// There is at least one file.
    Files,
}

/// How the tree stands to the replica, by its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// It has no marker.
    Unmarked,
    /// It descends from the newest snapshot, or from one that the replica has lost.
    Current,
    /// Another writer went on from where it stands, and it is still exactly what its own snapshot holds.
    Unchanged,
    /// Another writer went on, and the tree was changed since, or that is not known.
    Behind,
    /// It belongs to another replica.
    Foreign,
}

/// What the store shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replica {
    /// It cannot be asked.
    Unreachable,
    /// Proven: nothing was ever here.
    Absent,
    /// It was claimed, and holds no snapshot.
    Begun,
    /// It holds a snapshot.
    History,
    /// Its newest commit cannot be read.
    Damaged,
}

/// Everything that was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The tree.
    pub local: Local,
    /// Its marker names a snapshot.
    pub remembers: bool,
    /// How tree and replica stand to each other. `Current`, `Unchanged` and `Behind` say something only where there is a snapshot.
    pub tie: Tie,
    /// The store.
    pub replica: Replica,
    /// What the description says.
    pub mode: RestoreMode,
    /// `restore-at` names a point that was not applied to this volume yet.
    pub at: bool,
}

/// What to do where the table refuses because both sides may hold what the other lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Refuse.
    #[default]
    Refuse,
    /// Keep what is there; the writer puts it on top of the replica.
    AdoptLocal,
    /// Restore over it; what is replaced is moved aside.
    RestoreOver,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Claim, and leave the tree alone.
    Keep,
    /// Leave the tree and make no claim: the store could not be asked, or its newest commit cannot be read.
    KeepUnclaimed,
    /// Claim, and go on from what is there as if it descended from the newest snapshot.
    Adopt,
    /// Claim; the application starts with nothing.
    Fresh,
    /// Claim, and put the newest snapshot back.
    Restore,
    /// Claim, put the point back that `restore-at` names, and commit it as the newest.
    RestoreAt,
    /// Ask the store again; in the end fail.
    Retry,
    /// Fail: the replica is damaged.
    Damaged,
    /// Refuse, and say why.
    Refuse(Reason),
}

/// Why a start is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Files, no marker, and a replica with snapshots.
    Unknown,
    /// The replica went on without this tree, and the tree has changes of its own.
    Behind,
    /// The tree belongs to another replica.
    Foreign,
    /// The volume remembers a snapshot, and neither files nor snapshots are there any more.
    ReplicaGone,
    /// A restore was begun here, and there is nothing to end it with.
    HalfAndGone,
    /// A restore was begun here, and restoring is switched off.
    HalfAndNever,
    /// `require`, and nothing to restore.
    Required,
    /// `restore-at`, and nothing to restore from.
    NothingAt,
}

/// Decides.
pub fn decide(o: &Observed, policy: Policy) -> Decision {
    match (table(o), policy) {
        (Decision::Refuse(Reason::Unknown | Reason::Behind), Policy::AdoptLocal) => Decision::Adopt,
        (Decision::Refuse(Reason::Unknown | Reason::Behind), Policy::RestoreOver)
            if o.mode != RestoreMode::Never =>
        {
            Decision::Restore
        }
        (decision, _) => decision,
    }
}

fn table(o: &Observed) -> Decision {
    use Decision::{Damaged, Fresh, Keep, KeepUnclaimed, Refuse, Restore, RestoreAt, Retry};
    let never = o.mode == RestoreMode::Never;
    let nothing = matches!(o.replica, Replica::Absent | Replica::Begun);
    if o.tie == Tie::Foreign && matches!(o.replica, Replica::Begun | Replica::History) {
        return Refuse(Reason::Foreign);
    }
    if o.at && !never {
        return match o.replica {
            Replica::Unreachable => Retry,
            Replica::Absent | Replica::Begun => Refuse(Reason::NothingAt),
            Replica::Damaged => Damaged,
            Replica::History => RestoreAt,
        };
    }
    match (o.local, o.replica) {
        (Local::Half, _) if nothing => Refuse(Reason::HalfAndGone),
        (Local::Half, _) if never => Refuse(Reason::HalfAndNever),
        (Local::Files, Replica::Unreachable | Replica::Damaged) if never || o.tie != Tie::Unmarked => {
            KeepUnclaimed
        }
        (Local::Empty, Replica::Unreachable | Replica::Damaged) if never => KeepUnclaimed,
        (_, Replica::Unreachable) => Retry,
        (_, Replica::Damaged) => Damaged,
        (Local::Half, _) => Restore,
        (Local::Empty, _) if nothing => match o.mode {
            RestoreMode::Require => Refuse(Reason::Required),
            _ if o.remembers => Refuse(Reason::ReplicaGone),
            _ => Fresh,
        },
        (Local::Empty, _) if never => Fresh,
        (Local::Empty, _) => Restore,
        (Local::Files, _) if nothing => Keep,
        (Local::Files, _) => match o.tie {
            Tie::Unmarked => Refuse(Reason::Unknown),
            Tie::Foreign => Refuse(Reason::Foreign),
            Tie::Current => Keep,
            Tie::Unchanged if !never => Restore,
            Tie::Unchanged | Tie::Behind => Refuse(Reason::Behind),
        },
    }
}

#[cfg(test)]
mod tests;
