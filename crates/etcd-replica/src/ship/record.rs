//! Status objects of a run: what the exporter shows and what restores believe. They come after the manifest, and none of them can fail the run.

use super::{Destination, ShipOptions};
use crate::Error;
use crate::layout::RESULT;
use crate::manifest::Manifest;
use crate::proof::Verdict;
use crate::result::{Proven, RunResult, Status, last_run, write_or_warn};
use crate::source::Taken;
use clock::Clock;

/// Records that a run failed before anything was shipped. The numbers of the last good one stay; where they cannot be read they are not
/// replaced by zeros (P6).
pub async fn record_failure(destination: &Destination, cluster: &str, exit: u8, clock: &dyn Clock) {
    let mut run = match last_run(&destination.store, cluster).await {
        Ok(run) => run.unwrap_or_default(),
        // Who may only write has nothing else to say, and what is no result holds no numbers.
        Err(Error::Store(store::Error::Denied { .. }) | Error::Damaged(_)) => RunResult::default(),
        Err(error) => {
            tracing::warn!(%error, "how this run ended is not recorded: the last result cannot be read");
            return;
        }
    };
    run.last_attempt = clock.unix_ms() / 1_000;
    run.last_exit_code = exit;
    write_or_warn(&destination.store, &format!("{cluster}/{RESULT}"), &run).await;
}

/// After the manifest.
pub(super) async fn success(
    destination: &Destination,
    options: &ShipOptions,
    manifest: &Manifest,
    taken: &Taken,
    seconds: f64,
    clock: &dyn Clock,
) {
    let (store, cluster) = (&destination.store, &options.cluster);
    let before = last_run(store, cluster).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the result of the last run cannot be read");
        None
    });
    let before = before.unwrap_or_default();
    if before.keys > 0 && (manifest.keys * 2 < before.keys || manifest.body_bytes * 4 < before.body_bytes) {
        tracing::warn!(keys = manifest.keys, before = before.keys, "the cluster shrank by more than half");
    }
    let run = RunResult {
        last_attempt: clock.unix_ms() / 1_000,
        last_exit_code: manifest.exit().code(),
        body_bytes: manifest.body_bytes,
        stored_bytes: manifest.stored_bytes,
        revision: manifest.revision,
        keys: manifest.keys,
        verify_level: manifest.level,
        hashkv: Some(manifest.hashkv.verdict),
        stream_seconds: taken.stream_seconds,
        upload_seconds: seconds,
        interval_seconds: options.interval,
        backlog: before.backlog,
        objects: before.objects,
        db_size: taken.origin.db_size,
        db_in_use: taken.origin.db_in_use,
        clock_offset_seconds: manifest.store_skew_ms.map(|ms| ms / 1_000),
    };
    write_or_warn(store, &format!("{cluster}/{RESULT}"), &run).await;
    if manifest.hashkv.verdict == Verdict::Mismatch || !manifest.read_back {
        return;
    }
    let now = clock::format_unix_ms(clock.unix_ms());
    let status = Status {
        last_point: Some(manifest.taken_at.clone()),
        size_bytes: manifest.stored_bytes,
        proven: Some(now.clone()),
        ..Status::etcd(cluster, clock)
    };
    write_or_warn(store, &format!("{cluster}/highwater/status.json"), &status).await;
    let proven = Proven {
        format: 1,
        through: manifest.object.clone(),
        at: now,
        by: "sidecar".into(),
        how: "bytes".into(),
    };
    write_or_warn(store, &format!("{cluster}/highwater/proven.json"), &proven).await;
}
