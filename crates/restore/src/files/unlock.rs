//! `restore unlock` of a replica of files.

use crate::cli;
use clock::{SystemClock, SystemIds};
use file_replica::{Error, unlock};
use serde::Serialize;
use store::Store;
use telemetry::Exit;

/// The field names are an interface.
#[derive(Serialize)]
struct Taken {
    lineage: String,
    /// Number of the claim.
    epoch: u64,
    /// The newest snapshot at that moment; 0 for none.
    snapshot: u64,
}

pub(crate) async fn run(args: &cli::Unlock, store: &Store) -> Result<Exit, Error> {
    let claim = unlock(store, &SystemClock, &SystemIds::default()).await?;
    let snapshot = claim.snapshot.as_ref().map_or(0, |head| head.number);
    let taken = Taken { lineage: claim.lineage, epoch: claim.number, snapshot };
    door::print(args.output, &taken, |t| {
        format!(
            "claim taken over: epoch {}, after snapshot {}; restart the pod that is to write",
            t.epoch, t.snapshot
        )
    });
    Ok(Exit::Done)
}
