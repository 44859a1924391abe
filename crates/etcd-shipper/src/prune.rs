//! `etcd-shipper prune`.

use crate::cli::Prune;
use crate::destination::{policy, seconds};
use crate::{failed, list};
use clock::SystemClock;
use door::{Failure, print};
use etcd_replica::{PruneOptions, plan_prune, prune};
use telemetry::Exit;

pub(crate) async fn run(args: Prune) -> Result<Exit, Failure> {
    let (store, cluster) = list::open(&args.which).await?;
    let options = PruneOptions {
        policy: policy(&args.keep),
        interval: seconds(args.keep.interval),
        accepted: args.keep.accept_policy.clone(),
        fewer: args.accept_fewer,
        plan_hash: args.plan_hash.clone(),
        just_written: None,
    };
    if !args.apply {
        let (plan, _) = plan_prune(&store, &cluster, &options, &SystemClock).await.map_err(failed)?;
        print(args.which.output, &plan, |plan| plan.to_string());
        return Ok(Exit::Done);
    }
    let pruned = prune(&store, &cluster, &options, &SystemClock).await.map_err(failed)?;
    print(args.which.output, &pruned, |pruned| {
        let mut text = String::new();
        for (word, names) in
            [("deleted", &pruned.deleted), ("locked", &pruned.locked), ("changed", &pruned.changed)]
        {
            names.iter().for_each(|name| text += &format!("{word:<8} {name}\n"));
        }
        for gate in &pruned.plan.gates {
            text += &format!("nothing is deleted: {gate}\n");
        }
        text + &format!("{} deleted, {} waiting\n", pruned.deleted.len(), pruned.plan.waiting())
    });
    Ok(if pruned.plan.gates.is_empty() { Exit::Done } else { Exit::Refused })
}
