//! What a run of retention notes for the guards of the next one: the policy that it applied, and how many snapshots are left (P3).
//!
//! Both change only when nothing spoke against deleting. While a gate is closed the count may grow and never falls: a fall is what the gate is
//! about, and noting it would open the gate by itself at the next run.

use super::{PruneOptions, Pruned};
use crate::layout::{POLICY, RESULT};
use crate::result::{Applied, applied, last_run, write_or_warn};
use store::Store;

/// After a run with all gates open.
pub(super) async fn remember(store: &Store, cluster: &str, options: &PruneOptions, done: &Pruned) {
    let note = Applied { policy: options.policy.clone(), snapshots: Some(done.candidates()) };
    write_or_warn(store, &format!("{cluster}/{POLICY}"), &note).await;
    match last_run(store, cluster).await {
        Ok(run) => {
            let mut run = run.unwrap_or_default();
            run.backlog = Some(done.backlog());
            write_or_warn(store, &format!("{cluster}/{RESULT}"), &run).await;
        }
        Err(error) => tracing::warn!(%error, "the result of the last run cannot be read"),
    }
}

/// After a run with a gate closed.
pub(super) async fn count_up(store: &Store, cluster: &str, done: &Pruned) {
    let snapshots = Some(done.candidates());
    if let Ok(Some(before)) = applied(store, cluster).await
        && snapshots > before.snapshots
    {
        write_or_warn(store, &format!("{cluster}/{POLICY}"), &Applied { snapshots, ..before }).await;
    }
}
