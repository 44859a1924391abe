//! `wal-streamer check`: would it work here? Store and credentials, volume, databases, clock, limits.
//!
//! It writes what a start writes as well, and no more: the probe object of the store, a file of 4 KiB that is removed again.

mod database;
mod host;
mod replica;

use crate::cli::Check;
use crate::pairs;
use clock::{Clock, IdGen, SystemClock, SystemIds};
use door::{Failure, report};
use std::collections::BTreeSet;
use std::sync::Arc;
use telemetry::Exit;

pub(crate) async fn run(args: Check) -> Result<Exit, Failure> {
    let pairs = pairs::resolve(&args.selection).map_err(Failure::usage)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdGen> = Arc::new(SystemIds::default());
    let mut findings = Vec::new();
    // Replicas below the common one are reached as one.
    let mut seen = BTreeSet::new();
    for pair in &pairs.all {
        let url = match &pairs.common {
            Some(common) => common.to_string(),
            None => pair.replica.clone(),
        };
        if seen.insert(url.clone()) {
            findings.extend(replica::look(&url, &clock, &ids).await);
        }
    }
    let mut volumes = BTreeSet::new();
    for pair in &pairs.all {
        findings.push(database::look(&pair.database));
        let dir = pair.database.parent().map(std::path::Path::to_owned).unwrap_or_default();
        if volumes.insert(dir.clone()) {
            findings.extend(host::volume(&dir, &*clock));
        }
    }
    findings.push(host::open_files(pairs.all.len()));
    Ok(report(args.output, &findings))
}
