//! Retention at the end of a run: only what this run has proven in the store lets anything go (P3).

use super::{Destination, ShipOptions};
use crate::Result;
use crate::layout::{Name, RESULT};
use crate::manifest::Manifest;
use crate::prune::{PruneOptions, Pruned, prune, tally};
use crate::result::{last_run, write_or_warn};
use clock::Clock;

/// Prunes one destination and notes what is left there.
pub(super) async fn retain(
    destination: &Destination,
    options: &ShipOptions,
    manifest: &Manifest,
    clock: &dyn Clock,
) -> Result<Pruned> {
    let just_written = Name::parse(&manifest.object).map(|(name, _)| name.to_string());
    let prune_options = PruneOptions {
        policy: destination.policy.clone(),
        interval: options.interval,
        accepted: options.accepted.clone(),
        fewer: None,
        plan_hash: None,
        just_written,
    };
    let (store, cluster) = (&destination.store, &options.cluster);
    let pruned = prune(store, cluster, &prune_options, clock).await?;
    if let Ok(Some(mut run)) = last_run(store, cluster).await {
        run.objects = tally(&pruned.plan);
        run.backlog = Some(pruned.backlog());
        write_or_warn(store, &format!("{cluster}/{RESULT}"), &run).await;
    }
    Ok(pruned)
}
