//! What a writer does first, decided from what the volume remembers and what the replica shows.
//!
//! A pure function from two observations to a plan (P3, P4, P6). The rule behind the table: nothing is uploaded over a history
//! that this volume cannot prove to be its own, unless the operator says so (`--adopt`); and even then under new TXIDs and
//! a new epoch, so that everything before stays restorable.
//!
//! | volume remembers | replica shows | plan |
//! |---|---|---|
//! | anything | nothing at all | new lineage, first image |
//! | its lineage, first image unfinished | lineage, no files | first image again |
//! | its lineage, newest = confirmed | same lineage | claim, resume |
//! | its lineage, newest = intent, same write id | same lineage | the reply was lost: confirm, claim, resume |
//! | its lineage, newest = confirmed, intent staged | same lineage | resend the same bytes, claim, resume |
//! | its lineage, newest < confirmed | objects are missing | claim, full image over the hole |
//! | its lineage, newest beyond | same lineage, other write id | refused: fenced or rolled back |
//! | its lineage | newest file is foreign | claim, full image |
//! | nothing, or another lineage | files | continue if the database *is* the newest state (rolling checksum), else refused, unless `--adopt`: claim, full image |

use crate::error::{Error, Result};
use crate::state::{Intent, Record};
use ltx::{Extension, Txid};

/// What the replica shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Lineage of the side object.
    pub(crate) lineage: Option<u64>,
    /// Newest TXID in any level.
    pub(crate) newest: Option<Txid>,
    /// Stamp of the newest level 0 file; `None` if that is foreign or there is none.
    pub(crate) stamp: Option<Extension>,
}

/// What to do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Create the lineage, then the first image as TXID 1.
    NewLineage,
    /// The lineage is ours: the first image as TXID 1.
    FirstImage,
    /// Take the TXID after `newest` as claim and go on from the recorded mark; `resend` the staged intent before.
    Resume { newest: Txid, resend: bool },
    /// Take the TXID after `newest` as claim, then a full image.
    FullImage { newest: Txid, why: &'static str },
    /// It was restored by hand, and a note proves it (`crate::origin`): claim, then a full image unless it is the newest state still.
    Descend { newest: Txid },
    /// Nothing ties this volume to the replica: go on only if the database is bit for bit its newest state (as after a
    /// restore), else refuse.
    Prove { newest: Txid },
}

/// Decides. `adopt`: the operator says that this database continues the replica.
pub(crate) fn decide(local: Option<&Record>, remote: &Remote, adopt: bool) -> Result<Plan> {
    let Some(newest) = remote.newest else {
        return match (local, remote.lineage) {
            (_, None) => Ok(Plan::NewLineage),
            (Some(record), Some(id)) if record.lineage == id => Ok(Plan::FirstImage),
            (_, Some(_)) if adopt => Ok(Plan::FirstImage),
            (_, Some(_)) => Err(Error::Refused {
                what: "the replica was claimed by another volume that has not finished its first image"
                    .into(),
                hint: "stop that writer, or start with --adopt if it is gone".into(),
            }),
        };
    };
    match local {
        Some(record) if remote.lineage == Some(record.lineage) => own(record, newest, remote.stamp, adopt),
        _ if adopt => Ok(Plan::FullImage { newest, why: "adopted" }),
        _ if remote.lineage.is_some() && remote.stamp.is_some() => Ok(Plan::Prove { newest }),
        _ => Err(stranger(newest)),
    }
}

/// The refusal of a volume that cannot show that its database continues the replica.
pub(crate) fn stranger(newest: Txid) -> Error {
    Error::Refused {
        what: format!(
            "the replica already holds a history (newest TXID {newest}) that this volume cannot prove to continue"
        ),
        hint: "restore it first, or start with --adopt to continue it with this database".into(),
    }
}

fn own(record: &Record, newest: Txid, stamp: Option<Extension>, adopt: bool) -> Result<Plan> {
    let Some(stamp) = stamp else {
        return Ok(Plan::FullImage { newest, why: "a foreign writer has been here" });
    };
    let n = newest.get();
    let intended = record.intent.as_ref().filter(|i| i.txid == n);
    let resume = |resend| match record.mark {
        Some(_) => Plan::Resume { newest, resend },
        None => Plan::FullImage { newest, why: "the last image was not finished" },
    };
    if n == record.confirmed {
        let staged = |i: &Intent| i.txid == n + 1 && i.staged.is_some();
        return Ok(match &record.intent {
            Some(i) if staged(i) => resume(true),
            Some(_) => Plan::FullImage { newest, why: "the last image was not finished" },
            None => resume(false),
        });
    }
    match intended {
        Some(intent) if stamp.lineage == record.lineage && stamp.write_id == intent.write_id => {
            Ok(resume(false))
        }
        _ if adopt => Ok(Plan::FullImage { newest, why: "adopted" }),
        _ if n < record.confirmed => {
            Ok(Plan::FullImage { newest, why: "objects of the replica are missing" })
        }
        _ => Err(Error::Refused {
            what: format!(
                "the replica (newest TXID {newest}, epoch {}) is ahead of this volume (TXID {:016x}, epoch {}): another writer took over, or this volume was rolled back",
                stamp.epoch, record.confirmed, record.epoch
            ),
            hint: "restore the replica first, or start with --adopt to continue it with this database".into(),
        }),
    }
}

#[cfg(test)]
#[path = "start/tests.rs"]
mod tests;
