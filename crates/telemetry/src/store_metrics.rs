//! Requests to the object store, as metrics.
//!
//! Plain numbers go in, so that neither this crate knows the store nor the store knows Prometheus: the door joins them.
//! `reason` is one of timeout, connect, throttled, access_denied, bad_credentials, not_found, conflict, server, other;
//! anything else is counted as `other`, so that an error text can never become a label.

use crate::{Error, Registry, names};
use prometheus::{HistogramVec, IntCounter, IntCounterVec};

/// The reasons a request can fail for.
const REASONS: [&str; 9] = [
    "timeout",
    "connect",
    "throttled",
    "access_denied",
    "bad_credentials",
    "not_found",
    "conflict",
    "server",
    "other",
];

/// Counts requests, failures, seconds and bytes.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    requests: IntCounterVec,
    errors: IntCounterVec,
    duration: HistogramVec,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
}

impl StoreMetrics {
    /// Registers [`names::STORE`].
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let bytes = registry.counter(&names::S3_TRANSFERRED_BYTES_TOTAL)?;
        Ok(Self {
            requests: registry.counter(&names::S3_REQUESTS_TOTAL)?,
            errors: registry.counter(&names::S3_REQUEST_ERRORS_TOTAL)?,
            duration: registry.histogram(&names::S3_REQUEST_DURATION_SECONDS)?,
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
        })
    }

    /// Records one request as sent (each attempt of a retried call counts): how long it took, why it failed,
    /// and the bytes of the response's and the request's body.
    pub fn request(&self, operation: &str, seconds: f64, error: Option<&str>, bytes_in: u64, bytes_out: u64) {
        self.requests.with_label_values(&[operation]).inc();
        self.duration.with_label_values(&[operation]).observe(seconds);
        if let Some(reason) = error {
            let known = REASONS.iter().find(|known| **known == reason).unwrap_or(&"other");
            self.errors.with_label_values(&[operation, known]).inc();
        }
        self.bytes_in.inc_by(bytes_in);
        self.bytes_out.inc_by(bytes_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuildInfo;
    use std::sync::Arc;

    #[test]
    fn one_request_in_every_metric() {
        let build = BuildInfo::of("test");
        let registry = Registry::new(&build, Arc::new(clock::ManualClock::at(0))).unwrap();
        let metrics = StoreMetrics::new(&registry).unwrap();
        metrics.request("PutObject", 0.02, None, 0, 4096);
        metrics.request("PutObject", 0.02, Some("throttled"), 10, 4096);
        metrics.request("PutObject", 0.02, Some("the disk of the server is on fire"), 0, 0);
        let text = registry.gather_text();
        for line in [
            r#"highwater_s3_requests_total{operation="PutObject"} 3"#,
            r#"highwater_s3_request_errors_total{operation="PutObject",reason="throttled"} 1"#,
            r#"highwater_s3_request_errors_total{operation="PutObject",reason="other"} 1"#,
            r#"highwater_s3_request_duration_seconds_count{operation="PutObject"} 3"#,
            r#"highwater_s3_transferred_bytes_total{direction="in"} 10"#,
            r#"highwater_s3_transferred_bytes_total{direction="out"} 8192"#,
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
