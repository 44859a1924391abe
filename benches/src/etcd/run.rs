//! One program's run, and the one in the middle of several.

use crate::section::Measured;
use crate::usage::Usage;
use anyhow::{Context, Result};
use std::fs;

/// One program's run.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) seconds: f64,
    /// With all children that it waited for.
    pub(super) cpu: f64,
    pub(super) usage: Usage,
    pub(super) sent: u64,
    pub(super) requests: u64,
    pub(super) stdout: String,
    /// How long the stream took, where the program says so.
    pub(super) stream: Option<f64>,
}

/// Keeps a run, and says at once what failed.
pub(super) fn push(runs: &mut Vec<Measured<Run>>, run: Measured<Run>) {
    if let Err(why) = &run {
        eprintln!("{why}");
    }
    runs.push(run);
}

/// The run in the middle, by seconds, with the highest peak of all and the stream in the middle; what failed is told, not averaged.
pub(super) fn median(runs: Vec<Measured<Run>>) -> Measured<Run> {
    let mut runs = runs.into_iter().collect::<Result<Vec<Run>, _>>()?;
    let peak = runs.iter().map(|run| run.usage.peak).max().unwrap_or(0);
    let mut streams: Vec<f64> = runs.iter().filter_map(|run| run.stream).collect();
    streams.sort_by(f64::total_cmp);
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let middle = runs.swap_remove(runs.len() / 2);
    let usage = Usage { peak, ..middle.usage };
    Ok(Run { usage, stream: streams.get(streams.len() / 2).copied(), ..middle })
}

/// Processor seconds of all children that were waited for, and of theirs.
pub(super) fn children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (ticks(16).context("no cutime")?, ticks(17).context("no cstime")?);
    Ok((user + system) / 100.0)
}
