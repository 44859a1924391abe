//! `etcd-shipper drill`.

use crate::cli::Drill;
use crate::verify::identities;
use crate::{failed, list};
use clock::{SystemClock, SystemIds};
use door::{Failure, print};
use etcd_replica::Catalogue;
use etcd_replica::drill::{Drilled, Tools, conclude, drill, pick, table};
use telemetry::{Exit, Shutdown};

pub(crate) async fn run(args: Drill) -> Result<Exit, Failure> {
    let tools = Tools::find(args.etcd_dir.as_deref()).map_err(failed)?;
    let identities = identities(args.identity.as_deref())?;
    let (store, cluster) = list::open(&args.which).await?;
    let catalogue = Catalogue::load(&store, &cluster).await.map_err(failed)?;
    let mut picked = pick(&catalogue, &SystemIds::default()).map_err(failed)?;
    picked.truncate(if args.newest_only { 1 } else { 2 });
    let shutdown = Shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    let work = async {
        let mut drilled: Vec<Drilled> = Vec::new();
        for item in picked {
            let one =
                drill(&store, item, identities.clone(), &tools, &args.work_dir, true, &SystemClock).await?;
            drilled.push(one);
        }
        Ok(drilled)
    };
    // Dropping the work ends the child and removes the scratch directory.
    let Some(drilled) = shutdown.deadline(std::time::Duration::ZERO, work).await else {
        return Err(Failure::new(Exit::Failed, "ended by a signal; the drill says nothing"));
    };
    let drilled = drilled.map_err(failed)?;
    conclude(&store, &cluster, &drilled, &SystemClock).await;
    print(args.which.output, &drilled, |drilled| table(drilled));
    Ok(if drilled.iter().any(|one| one.failed.is_some()) { Exit::Damaged } else { Exit::Done })
}
