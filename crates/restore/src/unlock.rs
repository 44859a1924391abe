//! `restore unlock`: takes the writer's claim over, so that whoever held it stops.

use crate::cli;
use crate::confirm;
use clock::{SystemClock, SystemIds};
use door::Failure;
use serde::Serialize;
use sqlite_replica::{Catalogue, Error, refuse_foreign, unlock};
use store::OpenConfig;
use telemetry::Exit;

/// The field names are an interface.
#[derive(Serialize)]
struct Taken {
    lineage: String,
    epoch: u32,
    txid: String,
}

/// Asks before a writer is stopped; elsewhere than on a terminal the flag has to say it.
pub(crate) fn confirmed(args: &cli::Unlock) -> Result<(), Failure> {
    if args.force {
        return Ok(());
    }
    let refused = |what: &str| Failure::new(Exit::Refused, format!("{what}; nothing was changed"));
    if !confirm::is_interactive() {
        return Err(refused("taking a claim over stops a writer that is running; say --force"));
    }
    match confirm::ask(&format!("whoever writes to {} will stop at his next commit", args.url)) {
        true => Ok(()),
        false => Err(refused("the claim was left alone")),
    }
}

/// Of a replica of a database.
pub(crate) async fn run(args: cli::Unlock) -> Result<Exit, Error> {
    let store = store::open(&args.url, OpenConfig::default()).await?;
    if Catalogue::load(&store).await?.entries.is_empty() {
        refuse_foreign(&store).await?;
    }
    let claim = unlock(&store, None, &SystemClock, &SystemIds::default()).await?;
    let taken = Taken {
        lineage: format!("{:016x}", claim.lineage),
        epoch: claim.epoch,
        txid: format!("{:016x}", claim.txid),
    };
    door::print(args.output, &taken, |t| {
        format!("claim taken over: epoch {}, TXID {}; restart the pod that is to write", t.epoch, t.txid)
    });
    Ok(Exit::Done)
}
