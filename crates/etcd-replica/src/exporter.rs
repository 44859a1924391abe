//! The truth of a bucket as numbers: what `serve` exports and what a job writes into a text file.
//!
//! One look reads the catalogues of all clusters and the status objects of every room below a URL. A status object that cannot be read is
//! counted, and so is one that is too large or has a key that none of ours can have; a look that cannot be completed gives nothing, so that
//! old numbers age visibly instead of looking fresh (P6).

use crate::catalogue::{Catalogue, small};
use crate::layout::Name;
use crate::result::{RunResult, Status, last_run};
use crate::{Error, Result};
use futures::TryStreamExt;
use std::collections::BTreeSet;
use store::Store;
use telemetry::{Sample, names};

/// Status objects of one look at most (P7).
const MAX_STATUS: usize = 10_000;

/// Looks at everything below a URL.
pub async fn look(store: &Store, destination: &str) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut unreadable = 0u32;
    for key in status_keys(store).await? {
        match small(store, &key).await.map(|bytes| serde_json::from_slice::<Status>(&bytes)) {
            Ok(Ok(status)) => of_status(&status, key.ends_with("drill.json"), &mut samples),
            Ok(Err(_)) | Err(Error::Damaged(_) | Error::Store(store::Error::Refused(_))) => unreadable += 1,
            Err(Error::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    for (prefix, cluster) in places(store).await? {
        let (found, readable) = if prefix.is_empty() {
            cluster_samples(store, &cluster, destination).await?
        } else if let Ok(below) = store.scoped(&prefix) {
            let destination = format!("{}/{prefix}", destination.trim_end_matches('/'));
            cluster_samples(&below, &cluster, &destination).await?
        } else {
            (Vec::new(), false)
        };
        samples.extend(found);
        unreadable += u32::from(!readable);
    }
    samples.push(Sample {
        row: &names::EXPORTER_UNREADABLE,
        labels: vec![destination.to_owned()],
        value: f64::from(unreadable),
    });
    Ok(samples)
}

/// Prefix and name of every cluster with snapshots, at any depth: whoever looks at a whole bucket sees all of them.
async fn places(store: &Store) -> Result<BTreeSet<(String, String)>> {
    let mut found = BTreeSet::new();
    let mut listing = store.list("", None);
    while let Some(object) = listing.try_next().await? {
        let key = object.key.as_str();
        let starts = std::iter::once(0).chain(key.match_indices('/').map(|(at, _)| at + 1));
        let named = starts.filter_map(|at| Some((at, Name::parse(&key[at..])?.0.cluster))).next();
        if let Some((at, cluster)) = named {
            found.insert((key[..at].trim_end_matches('/').to_owned(), cluster));
        }
    }
    Ok(found)
}

async fn status_keys(store: &Store) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut listing = store.list("", None);
    while let Some(object) = listing.try_next().await? {
        let is_status = ["highwater/status.json", "highwater/drill.json"]
            .iter()
            .any(|name| object.key == *name || object.key.ends_with(&format!("/{name}")));
        if is_status && keys.len() < MAX_STATUS {
            keys.insert(object.key);
        }
    }
    Ok(keys)
}

fn of_status(status: &Status, is_drill: bool, samples: &mut Vec<Sample>) {
    let app = if status.app.is_empty() { &status.cluster } else { &status.app };
    let labels = vec![app.clone(), status.kind.clone(), status.name.clone()];
    let mut add = |row, value: Option<f64>| {
        if let Some(value) = value {
            samples.push(Sample { row, labels: labels.clone(), value });
        }
    };
    if !is_drill {
        add(&names::BACKUP_LAST_OBJECT_TIMESTAMP_SECONDS, status.last_point.as_deref().and_then(seconds));
        add(&names::BACKUP_SIZE_BYTES, Some(status.size_bytes as f64));
        add(&names::BACKUP_PROVEN_TIMESTAMP_SECONDS, status.proven.as_deref().and_then(seconds));
    }
    if let Some(drill) = &status.drill {
        let ok = drill.result == "ok";
        add(&names::DRILL_LAST_RESULT, Some(f64::from(u8::from(ok))));
        add(&names::DRILL_LAST_SUCCESS_TIMESTAMP_SECONDS, seconds(&drill.finished).filter(|_| ok));
        add(&names::DRILL_DURATION_SECONDS, Some(drill.seconds));
    }
}

fn seconds(time: &str) -> Option<f64> {
    clock::parse_unix_ms(time).map(|ms| ms as f64 / 1_000.0)
}

/// The numbers of one cluster in one destination.
pub async fn of_cluster(store: &Store, cluster: &str, destination: &str) -> Result<Vec<Sample>> {
    cluster_samples(store, cluster, destination).await.map(|(samples, _)| samples)
}

/// The same, and whether the numbers of the last run could be read; the snapshots speak for themselves without them.
async fn cluster_samples(store: &Store, cluster: &str, destination: &str) -> Result<(Vec<Sample>, bool)> {
    let catalogue = Catalogue::load(store, cluster).await?;
    let (run, readable) = match last_run(store, cluster).await {
        Ok(run) => (run.unwrap_or_default(), true),
        Err(Error::Damaged(_)) => (RunResult::default(), false),
        Err(error) => return Err(error),
    };
    let labels = [cluster.to_owned(), destination.to_owned()];
    let mut samples = Vec::new();
    let mut add = |row, more: Option<&str>, value: f64| {
        let labels = labels.iter().cloned().chain(more.map(str::to_owned)).collect();
        samples.push(Sample { row, labels, value });
    };
    let proven: Vec<_> = catalogue.items.iter().filter(|item| item.is_verified()).collect();
    add(&names::ETCD_COUNT, None, proven.len() as f64);
    if let Some(item) = proven.first() {
        add(&names::ETCD_OLDEST_KEPT_TIMESTAMP_SECONDS, None, item.name.taken as f64);
    }
    if let Some((item, manifest)) = proven.last().and_then(|item| Some((item, item.manifest.as_ref()?))) {
        add(&names::ETCD_LAST_SUCCESS_TIMESTAMP_SECONDS, None, item.name.taken as f64);
        add(&names::ETCD_SIZE_BYTES, Some("body"), manifest.body_bytes as f64);
        add(&names::ETCD_SIZE_BYTES, Some("stored"), manifest.stored_bytes as f64);
        add(&names::ETCD_REVISION, None, manifest.revision as f64);
        add(&names::ETCD_KEYS, None, manifest.keys as f64);
        add(&names::ETCD_VERIFY_LEVEL, None, f64::from(item.level()));
    }
    if run.last_attempt > 0 {
        of_run(&run, &mut add);
    }
    add(&names::ETCD_OBJECTS, Some("foreign"), catalogue.foreign.len() as f64);
    Ok((samples, readable))
}

fn of_run(run: &RunResult, add: &mut impl FnMut(&'static names::Metric, Option<&str>, f64)) {
    add(&names::ETCD_LAST_ATTEMPT_TIMESTAMP_SECONDS, None, run.last_attempt as f64);
    add(&names::ETCD_LAST_EXIT_CODE, None, f64::from(run.last_exit_code));
    add(&names::ETCD_UPLOAD_SECONDS, None, run.upload_seconds);
    add(&names::ETCD_INTERVAL_SECONDS, None, run.interval_seconds as f64);
    for (state, count) in run.objects.iter().filter(|(state, _)| *state != "foreign") {
        add(&names::ETCD_OBJECTS, Some(state), *count as f64);
    }
    if let Some(verdict) = run.hashkv {
        add(&names::ETCD_HASHKV_MATCH, None, verdict.as_metric());
    }
    let optional = [
        (&names::ETCD_RETENTION_BACKLOG, run.backlog.map(|count| count as f64)),
        (&names::ETCD_STREAM_SECONDS, run.stream_seconds),
        (&names::ETCD_DB_SIZE_BYTES, run.db_size.map(|bytes| bytes as f64)),
        (&names::ETCD_DB_IN_USE_BYTES, run.db_in_use.map(|bytes| bytes as f64)),
        (&names::ETCD_CLOCK_OFFSET_SECONDS, run.clock_offset_seconds.map(|seconds| seconds as f64)),
    ];
    for (row, value) in optional {
        if let Some(value) = value {
            add(row, None, value);
        }
    }
}
