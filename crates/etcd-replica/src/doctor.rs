//! Which file, port, role, permission or clock is wrong: everything that a run needs, tried one by one, in words.
//!
//! Nothing is written but the store's own probe. A finding never hides the next one.

use crate::source::{EtcdSource, Source, TalosSource};
use crate::{Error, spool};
use clock::Clock;
use serde::Serialize;
use std::path::Path;
use store::Store;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// Whether it works.
    pub ok: bool,
    /// What is wrong, or what was found.
    pub says: String,
}

impl Finding {
    fn of(what: impl Into<String>, tried: Result<String, Error>) -> Self {
        let what = what.into();
        match tried {
            Ok(says) => Self { what, ok: true, says },
            Err(error) => Self { what, ok: false, says: error.to_string() },
        }
    }
}

/// Looks at the source.
pub async fn source(source: &Source) -> Vec<Finding> {
    match source {
        Source::Etcd(source) => etcd(source).await,
        Source::Talos(source) => talos(source).await,
        Source::File(source) => {
            let read = std::fs::File::open(&source.path)
                .map(|_| "can be read".to_owned())
                .map_err(Error::local(format!("open {}", source.path.display())));
            vec![Finding::of("file", read)]
        }
    }
}

async fn etcd(source: &EtcdSource) -> Vec<Finding> {
    let pem = match source.tls.read() {
        Ok(pem) => pem,
        Err(error) => return vec![Finding::of("certificates", Err(error))],
    };
    let says = if pem.is_some() { "can be read" } else { "none are given: plain http on loopback" };
    let mut findings = vec![Finding::of("certificates", Ok(says.to_owned()))];
    for endpoint in &source.endpoints {
        findings
            .push(Finding::of(format!("endpoint {endpoint}"), source.describe(endpoint, pem.as_ref()).await));
    }
    findings
}

async fn talos(source: &TalosSource) -> Vec<Finding> {
    match source.describe().await {
        Ok(nodes) => nodes.into_iter().map(|node| Finding::of("Talos API", Ok(node))).collect(),
        Err(error) => vec![Finding::of("Talos API", Err(error))],
    }
}

/// Looks at the spool.
pub fn spool_dir(dir: &Path) -> Finding {
    let tried = spool::check_dir(dir).and_then(|()| {
        tempfile::tempfile_in(dir).map_err(Error::local(format!("write in {}", dir.display())))?;
        Ok("is a disk and can be written".to_owned())
    });
    Finding::of(format!("spool {}", dir.display()), tried)
}

/// Looks at a destination: listing, create-only puts, the clock.
pub async fn destination(url: &str, store: &Store, cluster: &str, clock: &dyn Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let listed = crate::Catalogue::load(store, cluster).await;
    let says = listed.map(|catalogue| {
        let newest = catalogue.newest_verified(None).map(|item| {
            let age = clock.unix_ms() / 1_000 - item.name.taken;
            format!(", the newest proven one is {} min old", age / 60)
        });
        let foreign = catalogue.foreign.len();
        format!(
            "{} snapshots of {cluster}{}, {foreign} foreign objects",
            catalogue.items.len(),
            newest.unwrap_or_default()
        )
    });
    let reachable = says.is_ok();
    findings.push(Finding::of(format!("destination {url}"), says));
    if !reachable {
        return findings;
    }
    let writable = store.capabilities().await.map_err(Error::from).map(|found| match found.create_only {
        true => "can be written, create-only puts hold".to_owned(),
        false => "can be written; this store ignores If-None-Match, so run one job at a time".to_owned(),
    });
    findings.push(Finding::of(format!("writing to {url}"), writable));
    if let Some(skew) = store.server_date_skew() {
        let seconds = skew / 1_000;
        let tried = if seconds.abs() > 60 {
            Err(Error::Usage(format!("this clock and the store's differ by {seconds} s: set the time")))
        } else {
            Ok(format!("differs from the store's by {seconds} s"))
        };
        findings.push(Finding::of("clock", tried));
    }
    findings
}
