//! `restore verify` of etcd snapshots. Exit 4 names the damaged objects and the newest snapshot that is whole.

use crate::cli::Verify;
use crate::identity;
use crate::values::bytes;
use clock::{IdGen, SystemClock, SystemIds};
use door::Failure;
use etcd_replica::{Catalogue, Error, Progress, Survey, record, restore, survey};
use seal::Identities;
use std::sync::Arc;
use store::Store;
use telemetry::Exit;

pub(crate) async fn run(args: &Verify, store: &Store) -> Result<Exit, Failure> {
    let identities = identity::named(args.identity.as_deref())?;
    let catalogue = super::load(store, args.cluster.as_deref()).await?;
    let found = survey(store, &catalogue, args.all, identities.clone(), &args.scratch).await;
    let found = found.map_err(super::failed)?;
    if args.full {
        full(args, store, &catalogue, &found, identities).await.map_err(super::failed)?;
    }
    if args.record {
        record(store, &catalogue, &found, &SystemClock).await.map_err(super::failed)?;
    }
    door::print(args.output, &found, text);
    let Some(first) = found.findings.first() else { return Ok(Exit::Done) };
    let hint = match (&found.provable, &found.time) {
        (Some(_), Some(time)) => {
            format!("the newest whole snapshot is of {time}: restore it with --latest-valid")
        }
        _ => "no snapshot of this cluster is whole".to_owned(),
    };
    Err(super::failed(Error::Damaged(format!("{}; {hint}", first.what))))
}

/// The newest whole one as the file a restore writes; in the clear, and only while this runs.
async fn full(
    args: &Verify,
    store: &Store,
    catalogue: &Catalogue,
    found: &Survey,
    identities: Option<Arc<Identities>>,
) -> Result<(), Error> {
    let item = catalogue.items.iter().find(|item| Some(item.name.to_string()) == found.provable);
    let Some(item) = item else { return Ok(()) };
    let file = args.scratch.join(format!("highwater-verify-{:016x}.db", SystemIds::default().next_u64()));
    let restored = restore(store, item, identities, &file, false, &Progress::default()).await;
    let _ = std::fs::remove_file(&file);
    restored.map(drop)
}

fn text(found: &Survey) -> String {
    let mut text = String::new();
    for f in &found.findings {
        text += &format!("DAMAGED  {}: {}\n", f.snapshot, f.what);
    }
    let read = format!("{} objects, {} read", found.objects, bytes(found.bytes));
    let how = match found.opened {
        0 => "every stored byte is what was written, nothing was opened".to_owned(),
        opened => format!("{opened} opened and compared with their manifests"),
    };
    match (&found.provable, &found.time, found.revision) {
        (Some(name), Some(time), Some(revision)) => {
            text + &format!("whole up to revision {revision} of {time}, {how} ({read}): {name}")
        }
        _ => text + &format!("no snapshot is whole ({read})"),
    }
}
