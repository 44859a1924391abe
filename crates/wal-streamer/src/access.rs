//! The access probe: one small request per store and interval, so that credentials that stopped working are noticed while nothing is
//! written. A refusal shows in `highwater_s3_request_errors_total`, which the alerts watch; it is repeated every minute until it passes.

use crate::stores::Clients;
use sqlite_replica::probe;
use std::sync::Arc;
use std::time::Duration;

/// Pause after a probe that failed, at most.
const AGAIN: Duration = Duration::from_secs(60);

/// Probes for ever.
pub(crate) async fn watch(clients: Arc<Clients>, every: Duration) {
    let mut pause = every;
    loop {
        tokio::time::sleep(pause).await;
        pause = every;
        for store in clients.opened().await {
            if let Err(error) = probe(&store).await {
                tracing::warn!(%error, "the store refuses the access probe");
                pause = every.min(AGAIN);
            }
        }
    }
}
