//! How fast a tree comes back, from a store that answers at once and from one that takes its time.
//!
//! Each tool restores what it stored itself; the result is compared, names and bytes, each time. Several runs, in turns, of which the one with
//! the median time is shown. Every run writes into a directory of its own, and nothing is removed before the section ends: ext4 does
//! not use an inode again for some minutes after it was freed, and looks at each of those one by one, so a tree that is written where one
//! was just removed takes up to four times as long, whoever writes it. The limit is `tar` unpacking an archive of the same files that is
//! in the page cache, and a sync of the file system, which our restore has in it and the others have not.

use super::backup::numbers;
use super::tool::{Asked, Kept, Tool};
use super::tree::{Size, plant, same};
use crate::bench::Bench;
use crate::sample::mib;
use crate::section::{Measured, Section, attempt, cells, number};
use crate::table::Table;
use crate::usage;
use anyhow::Result;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const HEAD: [&str; 9] = [
    "latency per request",
    "",
    "seconds (of all runs)",
    "of rclone's speed",
    "GET",
    "all requests",
    "received",
    "CPU",
    "peak RSS",
];

/// File-milliseconds beyond which one run is enough: rclone asks for every file.
const SLOW: u64 = 50_000;
/// Longest unpacking.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn measure(bench: &Bench) -> Section {
    let (mut tables, mut json) = (Vec::new(), json!({}));
    let mut kept = Vec::new();
    for size in Size::all(bench) {
        let latencies: &[u64] = if size.files > 10_000 { &[0, 5] } else { &[0, 5, 50] };
        let mut table = Table::new(format!("Restore of {}", size.name()), &HEAD);
        let mut stored: Vec<(Tool, Measured<Stored>)> = Tool::ALL
            .into_iter()
            .map(|tool| (tool, tool.if_there(|| Stored::new(bench, tool, size))))
            .collect();
        match attempt(|| limit(bench, size, &mut kept)) {
            Ok(seconds) => table.row(limit_row(&seconds)),
            Err(reason) => table.note(format!("the limit failed: {reason}")),
        }
        for latency in latencies {
            let runs = if size.files as u64 * latency > SLOW { 1 } else { bench.runs };
            let mut all: Vec<Measured<Vec<Asked>>> = stored.iter().map(|_| Ok(Vec::new())).collect();
            for _ in 0..runs {
                for ((_, stored), runs) in stored.iter_mut().zip(&mut all) {
                    let run = match stored {
                        Ok(stored) => attempt(|| stored.restore(*latency)),
                        Err(reason) => Err(reason.clone()),
                    };
                    match (run, &mut *runs) {
                        (Ok(run), Ok(runs)) => runs.push(run),
                        (Err(reason), _) => *runs = Err(reason),
                        (_, Err(_)) => {}
                    }
                }
            }
            let medians: Vec<Measured<Median>> = all.into_iter().map(|runs| runs.map(Median::of)).collect();
            let theirs = stored.iter().zip(&medians).find(|((tool, _), _)| *tool == Tool::Rclone);
            let theirs = theirs.and_then(|(_, run)| Some(run.as_ref().ok()?.run.ran.seconds));
            for ((tool, _), run) in stored.iter().zip(&medians) {
                let mut row = vec![format!("{latency} ms"), tool.restore_name().to_owned()];
                row.extend(cells(run, |median| median.shown(theirs)));
                table.row(row);
                json[size.name()][format!("{latency} ms")][tool.restore_name()] =
                    number(run, |median| numbers(&median.run));
            }
        }
        kept.extend(stored.into_iter().filter_map(|(_, stored)| Some(stored.ok()?.kept.place)));
        tables.push(table);
    }
    Section { tables, json }
}

/// What one tool has stored of a tree.
struct Stored {
    kept: Kept,
    restored: usize,
}

impl Stored {
    fn new(bench: &Bench, tool: Tool, size: Size) -> Result<Stored> {
        let kept = Kept::new(bench, tool, size)?;
        kept.keeper("cache")?.backup()?;
        Ok(Stored { kept, restored: 0 })
    }

    /// What is restored after a loss is restored without a cache.
    fn restore(&mut self, latency: u64) -> Result<Asked> {
        self.restored += 1;
        let back = self.kept.place.path().join(format!("back-{}", self.restored));
        let keeper = self.kept.keeper(&format!("cache-{}", self.restored))?;
        self.kept.server.faults().latency(Duration::from_millis(latency));
        let restored = keeper.restore(&back);
        self.kept.server.faults().latency(Duration::ZERO);
        let (asked, at) = restored?;
        same(&keeper.tree, &at)?;
        Ok(asked)
    }
}

/// The run with the median time, and the times of all.
struct Median {
    run: Asked,
    seconds: Vec<f64>,
}

impl Median {
    fn of(mut runs: Vec<Asked>) -> Median {
        runs.sort_by(|a, b| a.ran.seconds.total_cmp(&b.ran.seconds));
        let seconds = runs.iter().map(|run| run.ran.seconds).collect();
        Median { run: runs.swap_remove(runs.len() / 2), seconds }
    }

    fn shown(&self, theirs: Option<f64>) -> [String; 7] {
        let (c, ran) = (&self.run.counts, &self.run.ran);
        let times = theirs.map_or("–".to_owned(), |theirs| format!("{:.1} ×", theirs / ran.seconds));
        let [get, total] = [c.get, c.total()].map(|n| n.to_string());
        let [received, rss] = [c.bytes_out, ran.usage.peak].map(|n| mib(n as f64));
        let cpu = format!("{:.2} s", ran.usage.cpu);
        [spread(&self.seconds), times, get, total, received, cpu, rss]
    }
}

/// The median, and the range.
fn spread(sorted: &[f64]) -> String {
    match sorted {
        [] => "–".into(),
        [one] => format!("{one:.2}"),
        [first, .., last] => format!("{:.2} ({first:.2} to {last:.2})", sorted[sorted.len() / 2]),
    }
}

fn limit_row(seconds: &[f64]) -> Vec<String> {
    let mut row = vec!["–".to_owned(), "limit: `tar` of the same files, and a sync".to_owned()];
    row.push(spread(seconds));
    row.extend((0..6).map(|_| "–".to_owned()));
    row
}

/// Unpacks an archive of the tree as often as the others restore it.
fn limit(bench: &Bench, size: Size, kept: &mut Vec<TempDir>) -> Result<Vec<f64>> {
    let place = bench.place()?;
    let (tree, archive) = (place.path().join("tree"), place.path().join("tree.tar"));
    plant(&tree, size)?;
    let tar = |what: &str, at: &Path| {
        let mut command = Command::new("tar");
        command.arg(what).arg(&archive).arg("-C").arg(at);
        command
    };
    usage::run(tar("-cf", &tree).arg("."), LIMIT)?;
    let mut seconds = Vec::new();
    for i in 0..bench.runs {
        let back = place.path().join(format!("back-{i}"));
        fs::create_dir(&back)?;
        nix::unistd::sync();
        let started = Instant::now();
        usage::run(&mut tar("-xf", &back), LIMIT)?;
        usage::run(Command::new("sync").arg("-f").arg(&back), LIMIT)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    kept.push(place);
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}
