//! The start in a pod: nothing is touched before this pod's `restored.json` is there.
//!
//! The file lies on a volume of the pod, and `restore init` takes away what an earlier start left. It names the description
//! that was restored; another one here is refused (exit 2), because it would stream something else than was restored.

use door::Failure;
use protect::Description;
use protect::handover::Handover;
use std::path::Path;
use std::time::Duration;
use telemetry::{Health, Shutdown};

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Waits for the file; `None` when told to stop before it came.
pub(crate) async fn handover(
    run_dir: &Path,
    description: &Description,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<Option<Handover>, Failure> {
    let path = Handover::path_in(run_dir);
    let mut told = false;
    loop {
        if let Some(handover) = Handover::read(&path).map_err(Failure::usage)? {
            handover.check(description).map_err(Failure::usage)?;
            return Ok(Some(handover));
        }
        if !std::mem::replace(&mut told, true) {
            health.wait_for(format!("waiting for {} (written by restore init)", path.display()));
            tracing::info!(path = %path.display(), "waiting for the restore of this pod");
        }
        health.beat();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}
