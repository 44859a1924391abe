//! What the start of a pod does with one database: a pure function from what was observed to what is done (P2, P3, P6).
//!
//! Local data is older, newer or of another history by *lineage* and TXID, never by file times. The rules behind the table, which is
//! in `decide/table.txt` and is run as a test:
//!
//! * healthy local data that continues the replica stays as it is; nothing is downloaded;
//! * data comes from the replica where there is none, or none that SQLite accepts; what was there is set aside, never deleted;
//! * an application never starts on nothing where there was something: a corrupt database without a replica, a replica that is gone,
//!   and a store that cannot be asked end with an error;
//! * where both sides hold something that the other may not, a person decides.

use protect::RestoreMode;

/// The file on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// No file.
    Missing,
    /// A file of no bytes.
    Empty,
    /// SQLite does not accept it.
    Corrupt,
    /// SQLite accepts it.
    Healthy,
}

/// How the file stands to the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The volume remembers no replica, and the content is not the replica's newest state.
    Unknown,
    /// It continues the newest state: at it, or ahead by what was not sent yet.
    Continues,
    /// It is the same history, and lacks the last commits that this very volume sent: a power loss. Or a restore was under way.
    LostLast,
    /// It is the same history, and another volume went on from it: this one was rolled back, or was away.
    Behind,
    /// The volume remembers another history.
    Stranger,
    /// It was restored by hand from the newest state the replica has still, and used since; or from an older one, by intention. A note says so.
    Restored,
}

/// What the store shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replica {
    /// It cannot be asked.
    Unreachable,
    /// Proven: nothing was ever here.
    Absent,
    /// Somebody began a replica and never finished its first image.
    Begun,
    /// It holds something to restore.
    History,
    /// It holds objects, and nothing can be restored from them.
    Damaged,
}

/// Everything that was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The file.
    pub local: Local,
    /// The volume remembers a replica that held something.
    pub remembers: bool,
    /// How file and replica stand to each other; means something only where both are there.
    pub tie: Tie,
    /// The store.
    pub replica: Replica,
    /// What the description says.
    pub mode: RestoreMode,
    /// `restore-at` names a point that was not applied to this volume yet.
    pub at: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Claim, and leave the file.
    Keep,
    /// Claim behind everything that is there, and leave the file: the sidecar begins with a full image, unless it is the newest state still.
    GoOn,
    /// Leave the file and make no claim: the store could not be asked.
    KeepUnclaimed,
    /// Claim; the application makes its database.
    Fresh,
    /// Claim, set aside what is there, restore the claimed state.
    Restore,
    /// Claim, set aside what is there, restore the point `restore-at` names.
    RestoreAt,
    /// Ask the store again; in the end fail.
    Retry,
    /// Fail: the replica is damaged.
    Damaged,
    /// Refuse, and say why.
    Refuse(Reason),
}

/// Why the start is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Corrupt, and nothing to restore it from.
    CorruptWithoutReplica,
    /// Corrupt, and restoring is switched off.
    CorruptAndNever,
    /// `require`, and nothing to restore.
    Required,
    /// The volume remembers a replica, and neither that nor the database is there any more.
    ReplicaGone,
    /// The replica went on without this volume.
    Behind,
    /// Two histories.
    Stranger,
    /// Nothing ties the two together.
    Unknown,
    /// `restore-at`, and nothing to restore from.
    NothingAt,
}

/// Decides.
pub fn decide(o: &Observed) -> Action {
    use Action::{Damaged, Fresh, GoOn, Keep, KeepUnclaimed, Refuse, Restore, RestoreAt, Retry};
    use Local::{Corrupt, Empty, Healthy, Missing};
    if o.at && o.mode != RestoreMode::Never {
        return match o.replica {
            Replica::Unreachable => Retry,
            Replica::Absent | Replica::Begun => Refuse(Reason::NothingAt),
            Replica::Damaged => Damaged,
            Replica::History => RestoreAt,
        };
    }
    match (o.local, o.replica) {
        (Healthy, Replica::Unreachable) if o.remembers => KeepUnclaimed,
        (_, Replica::Unreachable) if o.mode == RestoreMode::Never && o.local != Corrupt => KeepUnclaimed,
        (Healthy, Replica::Absent | Replica::Begun | Replica::Damaged) => Keep,
        (Healthy, Replica::History) => match o.tie {
            Tie::Continues => Keep,
            Tie::Restored => GoOn,
            Tie::LostLast if o.mode == RestoreMode::Never => Refuse(Reason::Behind),
            Tie::LostLast => Restore,
            Tie::Behind => Refuse(Reason::Behind),
            Tie::Stranger => Refuse(Reason::Stranger),
            Tie::Unknown => Refuse(Reason::Unknown),
        },
        (Corrupt, _) if o.mode == RestoreMode::Never => Refuse(Reason::CorruptAndNever),
        (Corrupt, Replica::Absent | Replica::Begun) => Refuse(Reason::CorruptWithoutReplica),
        (Missing | Empty, Replica::Absent | Replica::Begun) if o.mode == RestoreMode::Require => {
            Refuse(Reason::Required)
        }
        (Missing | Empty, Replica::Absent) if o.remembers => Refuse(Reason::ReplicaGone),
        (Missing | Empty, Replica::Absent | Replica::Begun) => Fresh,
        (Missing | Empty, _) if o.mode == RestoreMode::Never => Fresh,
        (_, Replica::History) => Restore,
        (_, Replica::Damaged) => Damaged,
        (_, Replica::Unreachable) => Retry,
    }
}

#[cfg(test)]
mod tests;
