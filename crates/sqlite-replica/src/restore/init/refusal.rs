//! Why a pod does not start, in words.

use crate::error::Error;
use crate::restore::init::Task;
use crate::restore::init::decide::Reason;
use crate::restore::init::look::Look;

/// The line a person reads when the start is refused, with the choices there are.
pub(super) fn refusal(task: &Task, look: &Look, reason: Reason) -> Error {
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
