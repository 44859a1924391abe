//! `restore verify` of a replica of files. Exit 4 names the damaged objects and the newest snapshot that is whole.

use crate::cli::Verify;
use crate::values::bytes;
use clock::{IdGen, SystemClock, SystemIds};
use file_replica::restore::{Options, Progress, RestorePlan, Want, restore};
use file_replica::{Error, Survey, Verified, record, survey};
use std::sync::Arc;
use store::Store;
use telemetry::Exit;

pub(crate) async fn run(args: &Verify, store: &Store) -> Result<Exit, Error> {
    let identities = super::identities(args.identity.as_deref())?;
    let found = survey(store, args.all, identities.clone()).await?;
    if args.full
        && let Some(number) = found.provable
    {
        // As a drill does it, with nothing recorded but by --record.
        let scratch = args.scratch.join(format!("highwater-verify-{:016x}", SystemIds::default().next_u64()));
        let plan = RestorePlan::new(store, Want::Number(number), &[], identities.as_deref()).await?;
        let options = Options { parallelism: usize::from(args.parallelism), ..Options::default() };
        let progress = Arc::new(Progress::default());
        let restored = restore(store, &plan, &scratch, identities, &options, &SystemClock, progress).await;
        let _ = std::fs::remove_dir_all(&scratch);
        restored?;
    }
    if let (true, Some(snapshot), Some(time)) = (args.record, found.provable, found.time.clone()) {
        let verified = Verified {
            snapshot,
            time,
            objects: found.objects,
            bytes: found.bytes,
            files: if found.ok { found.files } else { 0 },
        };
        record(store, &verified, "verify", &SystemClock).await?;
    }
    door::print(args.output, &found, text);
    if found.ok {
        return Ok(Exit::Done);
    }
    let first = found.findings.first();
    Err(Error::Damaged {
        what: first.map_or_else(String::new, |f| format!("snapshot {}: {}", f.snapshot, f.what)),
        hint: match found.provable {
            Some(number) => format!("the newest whole snapshot is {number}: restore it with --latest-valid"),
            None => "no snapshot of this replica is whole".into(),
        },
    })
}

fn text(found: &Survey) -> String {
    let mut text = String::new();
    for f in &found.findings {
        text += &format!("DAMAGED  snapshot {}: {}\n", f.snapshot, f.what);
    }
    let read = format!("{} objects, {} read", found.objects, bytes(found.bytes));
    let how = match found.files {
        0 => "every stored byte is what was written".to_owned(),
        files => format!("{files} files opened and compared"),
    };
    match (found.provable, &found.time) {
        (Some(number), Some(time)) => {
            text + &format!("whole up to snapshot {number} of {time}, {how} ({read})")
        }
        _ => text + &format!("no snapshot is whole ({read})"),
    }
}
