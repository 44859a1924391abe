//! What a job that ends leaves for Prometheus: a file for node_exporter's textfile collector, and what [`crate::gateway`] pushes.
//!
//! Both show what is in each destination, read back after the run, and how this run ended. A destination that cannot be read gives only
//! the latter: its older numbers stay where they are and age visibly (P6). The status objects in the bucket and `serve` need neither; a
//! push tells of a failed run even where the bucket is what failed.

use crate::failed;
use clock::{Clock, SystemClock};
use door::Failure;
use etcd_replica::{Destination, Error, exporter};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use telemetry::{BuildInfo, Exit, ExporterMetrics, Registry, Sample, names};

/// One destination after the run.
pub(crate) struct Seen {
    /// Its URL without the query.
    pub(crate) destination: String,
    /// What it shows.
    pub(crate) samples: Vec<Sample>,
    /// Everything is there, not only how the run ended.
    pub(crate) complete: bool,
}

/// Reads each destination back; `exits` are this run's, in the same order.
pub(crate) async fn gather(cluster: &str, destinations: &[Destination], exits: &[Exit]) -> Vec<Seen> {
    let now = (SystemClock.unix_ms() / 1_000) as f64;
    let mut all = Vec::with_capacity(destinations.len());
    for (destination, exit) in destinations.iter().zip(exits) {
        let label = short(&destination.url);
        let read = exporter::of_cluster(&destination.store, cluster, &label).await;
        let complete = read.is_ok();
        let mut samples = read.unwrap_or_else(|error| {
            tracing::warn!(destination = label, %error, "cannot be read for its metrics");
            Vec::new()
        });
        for (row, value) in [
            (&names::ETCD_LAST_ATTEMPT_TIMESTAMP_SECONDS, now),
            (&names::ETCD_LAST_EXIT_CODE, f64::from(exit.code())),
        ] {
            samples.retain(|sample| sample.row != row);
            samples.push(Sample { row, labels: vec![cluster.to_owned(), label.clone()], value });
        }
        all.push(Seen { destination: label, samples, complete });
    }
    all
}

/// The text format; without the numbers of this process, which is about to end.
pub(crate) fn text(samples: &[Sample]) -> Result<String, Failure> {
    let failing = |error| Failure::new(Exit::Failed, error);
    let registry = Registry::new(&BuildInfo::of("etcd-shipper"), Arc::new(SystemClock)).map_err(failing)?;
    ExporterMetrics::new(&registry).map_err(failing)?.replace(samples);
    let all = registry.gather_text();
    Ok(all.lines().filter(|line| !is_of_process(line)).flat_map(|line| [line, "\n"]).collect())
}

/// By the name of the metric: a cluster or a bucket may be called anything.
fn is_of_process(line: &str) -> bool {
    let name = ["# HELP ", "# TYPE "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    name.starts_with("process_")
}

/// Replaces the file of the textfile collector, unless it would lose what an earlier run found.
pub(crate) fn write(path: &Path, seen: &[Seen]) -> Result<(), Failure> {
    if !seen.iter().all(|one| one.complete) {
        tracing::warn!(path = %path.display(), "not every destination could be read: the file stays as it is");
        return Ok(());
    }
    let samples: Vec<Sample> = seen.iter().flat_map(|one| one.samples.clone()).collect();
    let text = text(&samples)?;
    let writing = |error: std::io::Error| {
        failed(Error::Local { what: format!("write {}", path.display()), source: error })
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".highwater-").tempfile_in(parent).map_err(writing)?;
    file.write_all(text.as_bytes()).map_err(writing)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(writing)?;
    file.persist(path).map_err(|error| writing(error.error))?;
    Ok(())
}

/// A URL without its query, as a label.
pub(crate) fn short(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_is_called_like_a_metric_of_the_process_keeps_its_numbers() {
        let labels = vec!["process_one".to_owned(), "s3://backups/process_control".to_owned()];
        let sample = Sample { row: &names::ETCD_LAST_EXIT_CODE, labels, value: 3.0 };
        let text = text(&[sample]).map_err(|failure| failure.line).unwrap();
        let shown = "{cluster=\"process_one\",destination=\"s3://backups/process_control\"} 3\n";
        assert!(text.contains(shown), "{text}");
        let name = |line: &str| line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").to_owned();
        assert!(!text.lines().any(|line| name(line).starts_with("process_")), "{text}");
    }
}
