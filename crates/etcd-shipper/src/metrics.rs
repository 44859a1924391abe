//! What a job that ends leaves for Prometheus: a file for node_exporter's textfile collector, and a push to a Pushgateway.
//!
//! Both show what is in each destination, read back after the run, and how this run ended. A destination that cannot be read gives only
//! the latter: its older numbers stay where they are and age visibly (P6). The status objects in the bucket and `serve` need neither; a
//! push tells of a failed run even where the bucket is what failed. A gateway that is away fails nothing.
//! What it does not do: TLS. A Pushgateway has none of its own, and the numbers hold no secret.

use crate::failed;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clock::{Clock, SystemClock};
use door::Failure;
use etcd_replica::{Destination, Error, exporter};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{BuildInfo, Exit, ExporterMetrics, Registry, Sample, names};
use url::Url;

/// For one push, from the connection to the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are looked at.
const ANSWER: usize = 4 << 10;

/// One destination after the run.
pub(crate) struct Seen {
    destination: String,
    samples: Vec<Sample>,
    /// Everything is there, not only how the run ended.
    complete: bool,
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
fn text(samples: &[Sample]) -> Result<String, Failure> {
    let failing = |error| Failure::new(Exit::Failed, error);
    let registry = Registry::new(&BuildInfo::of("etcd-shipper"), Arc::new(SystemClock)).map_err(failing)?;
    ExporterMetrics::new(&registry).map_err(failing)?.replace(samples);
    let all = registry.gather_text();
    Ok(all.lines().filter(|line| !line.contains("process_")).flat_map(|line| [line, "\n"]).collect())
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

/// Where a Pushgateway listens: `http://HOST:PORT`, perhaps with a path before `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gateway {
    authority: String,
    path: String,
}

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
            return Err("a Pushgateway is named as http://HOST:PORT, without user and password".into());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("there is no host")?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a Pushgateway's URL ends with its path".into());
        }
        let authority = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
        Ok(Self { authority, path: url.path().trim_end_matches('/').to_owned() })
    }
}

impl Gateway {
    /// One group per destination, so that one that cannot be read keeps what it had: a complete one replaces its group, the other
    /// only adds to it. Failures are told, and are no failure of the run.
    pub(crate) async fn push(&self, cluster: &str, seen: &[Seen]) {
        for one in seen {
            let pushed = match text(&one.samples) {
                Ok(text) => tokio::time::timeout(PATIENCE, self.send(cluster, one, text)).await,
                Err(error) => Ok(Err(error.line)),
            };
            let why = match pushed {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
            };
            tracing::warn!(
                gateway = self.authority,
                destination = one.destination,
                why,
                "metrics were not pushed"
            );
        }
    }

    async fn send(&self, cluster: &str, one: &Seen, text: String) -> Result<(), String> {
        let said = |error: &dyn std::error::Error| error.to_string();
        let place = BASE64_URL_SAFE_NO_PAD.encode(&one.destination);
        let path =
            format!("{}/metrics/job/etcd-shipper/cluster/{cluster}/destination@base64/{place}", self.path);
        let request = Request::builder()
            .method(if one.complete { Method::PUT } else { Method::POST })
            .uri(path)
            .header("host", &self.authority)
            .header("content-type", "text/plain; version=0.0.4")
            .body(Full::new(Bytes::from(text)))
            .map_err(|e| said(&e))?;
        let socket = tokio::net::TcpStream::connect(&self.authority).await.map_err(|e| said(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|e| said(&e))?;
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|e| said(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        connection.abort();
        if status.is_success() {
            return Ok(());
        }
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        Err(format!("status {status}: {}", text.lines().next().unwrap_or_default()))
    }
}

/// A URL without its query, as a label.
pub(crate) fn short(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_a_plain_http_url() {
        let gateway: Gateway = "http://push.monitoring.svc:9091/".parse().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((gateway.authority.as_str(), gateway.path.as_str()), ("push.monitoring.svc:9091", ""));
        let below: Result<Gateway, _> = "http://push/below".parse();
        assert_eq!(below, Ok(Gateway { authority: "push:80".into(), path: "/below".into() }));
        for wrong in ["push:9091", "https://push", "http://a:b@push", "http://push/?x=1", "file:///x", ""] {
            assert!(wrong.parse::<Gateway>().is_err(), "{wrong}");
        }
    }
}
