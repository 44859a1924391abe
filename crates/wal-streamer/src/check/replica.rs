//! The store of a replica: reachable, with these credentials, able to refuse a second create, and of the same time.

use clock::{Clock, IdGen};
use door::Finding;
use std::sync::Arc;
use std::time::Duration;
use store::{Class, Error, OpenConfig, RetryPolicy, Store, StoreUrl};
use telemetry::Exit;

/// S3 refuses requests signed with a clock that is further off.
const SKEW_REFUSED_MS: i64 = 15 * 60 * 1_000;
/// Enough to make points in time hard to find.
const SKEW_NOTED_MS: i64 = 5_000;

/// Everything about one store.
pub(super) async fn look(url: &str, clock: &Arc<dyn Clock>, ids: &Arc<dyn IdGen>) -> Vec<Finding> {
    let failed = |check, error: &Error| vec![finding(check, url, error)];
    let parsed = match StoreUrl::parse(url) {
        Ok(parsed) => parsed,
        Err(error) => return failed("store", &error),
    };
    // A person waits: two attempts, not a minute of them.
    let retry = RetryPolicy { max_attempts: 2, budget: Duration::from_secs(10), ..RetryPolicy::default() };
    let config = OpenConfig { retry, ..OpenConfig::new(clock.clone(), ids.clone()) };
    let store = match store::open(&parsed, config).await {
        Ok(store) => store,
        Err(error) => return failed("store", &error),
    };
    let mut findings = Vec::new();
    let begun = clock.monotonic_ns();
    match first(&store).await {
        Ok(holds) => {
            let ms = (clock.monotonic_ns() - begun) / 1_000_000;
            let holds = if holds { "holds objects" } else { "is empty" };
            findings.push(Finding::ok("store", url, format!("reachable, may be listed ({ms} ms), {holds}")));
        }
        Err(error) => return failed("store", &error),
    }
    match store.capabilities().await {
        Ok(found) if found.create_only => {
            findings.push(Finding::ok("create-only", url, "a second create is refused; may be written"));
        }
        Ok(_) => findings.push(Finding::warning(
            "create-only",
            url,
            "the store accepts a second create: a second writer is noticed late",
            "run a single writer per replica (strategy Recreate, ReadWriteOncePod)",
        )),
        Err(error) => findings.push(finding("create-only", url, &error)),
    }
    findings.extend(store.server_date_skew().map(|skew| skewed(url, skew)));
    findings
}

/// Whether there is anything.
async fn first(store: &Store) -> store::Result<bool> {
    use futures::TryStreamExt;
    Ok(store.list("", None).try_next().await?.is_some())
}

fn finding(check: &'static str, url: &str, error: &Error) -> Finding {
    let (exit, hint) = match (error.class(), error.reason()) {
        (_, "bad_credentials") => (Exit::Usage, "check the key files in /highwater/credentials or AWS_*"),
        (_, "access_denied") => (Exit::Usage, "the credential needs ListBucket and PutObject here"),
        (_, "no_root") => (Exit::Usage, "create it, or correct the url"),
        (_, "clock_skew") => (Exit::Failed, "set this machine's clock (NTP)"),
        (Class::Retriable | Class::Unknown, _) => (Exit::Failed, "check endpoint, DNS and network policies"),
        _ => (Exit::Usage, "correct the url"),
    };
    Finding::failed(check, exit, url, error.to_string(), hint)
}

fn skewed(url: &str, ms: i64) -> Finding {
    let found = format!("the store's clock is {:+.1} s from ours", ms as f64 / 1_000.0);
    match ms.abs() {
        off if off >= SKEW_REFUSED_MS => {
            Finding::failed("clock", Exit::Failed, url, found, "set this machine's clock (NTP)")
        }
        off if off >= SKEW_NOTED_MS => Finding::warning("clock", url, found, "run an NTP client"),
        _ => Finding::ok("clock", url, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use door::Verdict;

    #[test]
    fn clocks_apart_are_graded() {
        for (ms, verdict) in [
            (900, Verdict::Ok),
            (-4_999, Verdict::Ok),
            (-5_000, Verdict::Warning),
            (900_000, Verdict::Failed),
        ] {
            assert_eq!(skewed("s3://b", ms).verdict, verdict, "{ms}");
        }
    }
}
