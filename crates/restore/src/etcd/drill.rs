//! `restore drill` of etcd snapshots: the newest and a random older one, up to a running etcd, as `etcd-shipper drill` does it.

use crate::cli;
use crate::drill::{Told, write_metrics};
use crate::identity;
use clock::{Clock, SystemClock, SystemIds};
use door::Failure;
use etcd_replica::Error;
use etcd_replica::drill::{Drilled, Tools, conclude, drill, pick, table};
use store::Store;
use telemetry::{Exit, Shutdown};

pub(crate) async fn run(args: &cli::Drill, store: &Store) -> Result<Exit, Failure> {
    if args.sql.is_some() || args.command.is_some() {
        return Err(Failure::usage(
            "--sql and --command ask restored files, and these are etcd snapshots: the drill starts an etcd and compares it with the manifest",
        ));
    }
    let identities = identity::named(args.identity.as_deref())?;
    let catalogue = super::load(store, args.cluster.as_deref()).await?;
    let picked = pick(&catalogue, &SystemIds::default()).map_err(super::failed)?;
    let tools = Tools::find(args.etcd_dir.as_deref()).map_err(super::failed)?;
    let shutdown = Shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    let work = async {
        let mut drilled: Vec<Drilled> = Vec::new();
        for item in picked {
            let one =
                drill(store, item, identities.clone(), &tools, &args.scratch, !args.no_record, &SystemClock);
            drilled.push(one.await?);
        }
        Ok(drilled)
    };
    // Dropping the work ends the etcd and removes the scratch directory.
    let Some(drilled) = shutdown.deadline(std::time::Duration::ZERO, work).await else {
        return Err(Failure::new(Exit::Failed, "ended by a signal; the drill says nothing"));
    };
    let drilled = drilled.map_err(super::failed)?;
    if !args.no_record {
        conclude(store, &catalogue.cluster, &drilled, &SystemClock).await;
    }
    let failure = drilled.iter().find_map(|one| one.failed.clone());
    if let Some(path) = &args.metrics {
        let told = Told {
            app: &catalogue.cluster,
            name: &catalogue.cluster,
            ok: failure.is_none(),
            seconds: drilled.iter().map(|one| one.seconds).sum(),
            finished: &clock::format_unix_ms(SystemClock.unix_ms()),
        };
        let what = format!("write metrics to {}", path.display());
        write_metrics(path, &told).map_err(|source| super::failed(Error::Local { what, source }))?;
    }
    door::print(args.output, &drilled, |drilled| table(drilled));
    match failure {
        None => Ok(Exit::Done),
        Some(what) => Err(super::failed(Error::Damaged(format!("the drill failed: {what}")))),
    }
}
