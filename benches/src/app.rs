//! The application beside which everything is measured: `hw-app` as a process, and what it reports of itself.

use crate::usage::run;
use anyhow::{Context, Result};
use std::process::Command;
use std::time::Duration;
use testkit::app::AppArgs;
use testkit::procs;

/// What a run of the application says at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) committed: f64,
    /// Commits per second.
    pub(crate) rate: f64,
    /// Seconds from BEGIN to the end of COMMIT.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Runs it to its end.
pub(crate) fn application(args: &AppArgs) -> Result<Report> {
    let limit = Duration::from_secs(args.seconds + 120);
    let ran = run(Command::new(procs::bin("hw-app")).args(args.to_args()), limit)?;
    let value = |name: &str| {
        let found = ran.stdout.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found
            .and_then(|text| text.parse::<f64>().ok())
            .with_context(|| format!("hw-app reports no {name}: {}", ran.stdout))
    };
    Ok(Report {
        committed: value("committed")?,
        rate: value("rate")?,
        p50: value("p50_us")? / 1e6,
        p99: value("p99_us")? / 1e6,
        max: value("max_us")? / 1e6,
    })
}
