//! How fast a database comes back: ours, Litestream on the same objects, and the limit of the machine.
//!
//! The replica is written by the streamer: a base image and 249 increments, each of them awaited in the store. All runs
//! restore from the loopback server with its objects in the page cache, in turns, three times; the median counts.
//! Before each run what others left unwritten is synced, and the result is compared once with the database.

use crate::arrivals::Arrivals;
use crate::bench::{Bench, server};
use crate::cost::if_there;
use crate::replicator::{Replicator, Tool};
use crate::sample::{Sample, mib, percent};
use crate::section::{Measured, Section, attempt, cells, number};
use crate::table::Table;
use crate::usage::{self, Usage};
use crate::writer::Writer;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testkit::app::compare_dbs;
use testkit::procs;
use testkit::s3::S3Server;

const INCREMENTS: u32 = 249;
const ROUNDS: usize = 3;
/// Longest restore.
const LIMIT: Duration = Duration::from_secs(180);

/// What restores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ours,
    OursChecked,
    Litestream,
    Limit,
}

impl Way {
    const ALL: [Way; 4] = [Way::Ours, Way::OursChecked, Way::Litestream, Way::Limit];

    fn name(self) -> &'static str {
        match self {
            Way::Ours => "restore sqlite --integrity none",
            Way::OursChecked => "restore sqlite (quick check)",
            Way::Litestream => "litestream restore",
            Way::Limit => "limit: decode on all cores, write, fsync",
        }
    }
}

/// One run.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    usage: Usage,
    requests: u64,
}

/// All rounds of one way.
struct Result3 {
    seconds: Sample,
    peak: u64,
    cpu: f64,
    requests: u64,
}

pub(crate) fn measure(bench: &Bench) -> Section {
    let mut sizes = vec![bench.sized(100u64, 4)];
    if bench.large {
        sizes.push(bench.sized(1024, 8));
    }
    let (mut tables, mut json) = (Vec::new(), json!({}));
    for size in sizes {
        let (table, numbers) = size_of(bench, size);
        tables.push(table);
        json[format!("{size} MiB")] = numbers;
    }
    Section { tables, json }
}

fn size_of(bench: &Bench, size: u64) -> (Table, Value) {
    let head = [
        "",
        "median of 3",
        "slowest",
        "of litestream's speed",
        "of the limit",
        "CPU",
        "peak RSS",
        "requests",
    ];
    let mut table = Table::new(format!("Restore of {size} MiB"), &head);
    let replica = match attempt(|| Replica::build(bench, size << 20)) {
        Ok(replica) => replica,
        Err(reason) => {
            table.note(format!("failed: {reason}"));
            return (table, json!({ "failed": reason }));
        }
    };
    let mut runs: Vec<(Way, Measured<Vec<Run>>)> =
        Way::ALL.iter().map(|way| (*way, Ok(Vec::new()))).collect();
    for round in 0..bench.sized(ROUNDS, 1) {
        for (way, results) in &mut runs {
            let tool = if *way == Way::Litestream { Tool::Litestream } else { Tool::Streamer };
            match (if_there(bench, tool, || replica.restore(bench, *way, round == 0)), results) {
                (Ok(run), Ok(runs)) => runs.push(run),
                (Err(reason), results) => *results = Err(reason),
                (Ok(_), Err(_)) => {}
            }
        }
    }
    let results: Vec<(Way, Measured<Result3>)> =
        runs.into_iter().map(|(way, runs)| (way, runs.and_then(summarise))).collect();
    let median = |wanted: Way| {
        let found = results.iter().find(|(way, _)| *way == wanted);
        found.and_then(|(_, result)| Some(result.as_ref().ok()?.seconds.median()))
    };
    let mut json = json!({ "objects": replica.objects, "object_bytes": replica.object_bytes, "database_bytes": replica.bytes });
    for (way, result) in &results {
        let against = |other: Way| Some(median(other)? / median(*way)?);
        let (theirs, limit) = (against(Way::Litestream), against(Way::Limit));
        let mut row = vec![way.name().to_owned()];
        row.extend(cells(result, |r| {
            let process = match way {
                Way::Limit => ["–".to_owned(), "–".to_owned()],
                _ => [format!("{:.2} s", r.cpu), mib(r.peak as f64)],
            };
            let [cpu, peak] = process;
            let times = theirs.map_or("–".into(), |ratio| format!("{ratio:.1} ×"));
            let share = limit.map_or("–".into(), percent);
            let [median, slowest] =
                [r.seconds.median(), r.seconds.quantile(1.0)].map(|s| format!("{s:.2} s"));
            [median, slowest, times, share, cpu, peak, r.requests.to_string()]
        }));
        table.row(row);
        json[way.name()] = number(result, |r| {
            json!({
                "seconds": r.seconds.json(), "times_litestream": theirs, "of_limit": limit,
                "cpu_seconds": r.cpu, "peak_rss_bytes": r.peak, "requests": r.requests,
            })
        });
    }
    table.note(format!(
        "{} objects, {} for a database of {}; written by wal-streamer, restored by all; every result was compared with the database.",
        replica.objects,
        mib(replica.object_bytes as f64),
        mib(replica.bytes as f64)
    ));
    (table, json)
}

fn summarise(runs: Vec<Run>) -> Measured<Result3> {
    let middle = Sample::of(runs.iter().map(|run| run.usage.cpu).collect()).ok_or("no runs")?;
    Ok(Result3 {
        seconds: Sample::of(runs.iter().map(|run| run.seconds).collect()).ok_or("no runs")?,
        peak: runs.iter().map(|run| run.usage.peak).max().unwrap_or(0),
        cpu: middle.median(),
        requests: runs[0].requests,
    })
}

/// A replica on a server, and the database it is of. Dropped in this order.
struct Replica {
    server: S3Server,
    /// The image, then everything of level 0 in its order.
    files: Vec<PathBuf>,
    source: PathBuf,
    objects: usize,
    object_bytes: u64,
    bytes: u64,
    place: TempDir,
}

impl Replica {
    fn build(bench: &Bench, bytes: u64) -> Result<Replica> {
        let place = bench.place()?;
        let source = place.path().join("source.db");
        let mut writer = Writer::open(&source, bytes)?;
        let server = server(place.path(), "store")?;
        // Every commit becomes a file of its own.
        let replicator =
            Replicator::start(bench, Tool::Streamer, &source, &server, &["--sync-interval", "1ms"])?;
        let arrivals = Arrivals::watch(replicator.files())?;
        for _ in 0..bench.sized(INCREMENTS, 20) {
            let commit = writer.commit(10)?;
            arrivals.until(commit.to, Duration::from_secs(30))?;
        }
        let level0 = replicator.files().to_owned();
        replicator.stop()?;
        drop(writer); // the last to leave folds the WAL into the file
        let mut files = listed(&level0.with_file_name("0009"))?;
        ensure!(files.len() == 1, "{} images", files.len());
        files.extend(listed(&level0)?);
        let sizes: Vec<u64> =
            files.iter().map(|file| Ok(fs::metadata(file)?.len())).collect::<Result<_>>()?;
        let bytes = fs::metadata(&source)?.len();
        Ok(Replica {
            server,
            files,
            source,
            objects: sizes.len(),
            object_bytes: sizes.iter().sum(),
            bytes,
            place,
        })
    }

    fn restore(&self, bench: &Bench, way: Way, compare: bool) -> Result<Run> {
        let output = self.place.path().join("restored.db");
        let mut command = match way {
            Way::Limit => Command::new("true"),
            Way::Litestream => {
                let mut command = Command::new(bench.litestream.as_ref().context("missing")?);
                let config = self.source.with_extension("yml");
                fs::write(
                    &config,
                    crate::replicator::configuration(&self.source, &self.server, Tool::Streamer.name()),
                )?;
                command.args(["restore", "-config"]).arg(config).arg("-o").arg(&output).arg(&self.source);
                command
            }
            Way::Ours | Way::OursChecked => {
                let mut command = Command::new(procs::bin("restore"));
                command.arg("sqlite").arg(self.server.url(Tool::Streamer.name())).arg("-o").arg(&output);
                command.args(["--integrity", if way == Way::Ours { "none" } else { "quick" }]);
                command
            }
        };
        crate::replicator::clean(&mut command, &self.server);
        nix::unistd::sync();
        let before = self.server.counts();
        let (seconds, usage) = match way {
            Way::Limit => (crate::limit::assemble(&self.files, &output)?, Usage::default()),
            _ => {
                let ran = usage::run(&mut command, LIMIT)?;
                (ran.seconds, ran.usage)
            }
        };
        let requests = self.server.counts().since(&before).total();
        let compared = if compare { same(&self.source, &output) } else { Ok(()) };
        fs::remove_file(&output)?;
        compared?;
        Ok(Run { seconds, usage, requests })
    }
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Bit for bit.
fn same(source: &Path, restored: &Path) -> Result<()> {
    let (a, b) = (fs::read(source)?, fs::read(restored)?);
    if a == b {
        return Ok(());
    }
    drop((a, b));
    let compared = compare_dbs(source, restored).map_err(anyhow::Error::msg)?;
    ensure!(compared.same_bytes(), "the restored database differs: {compared}");
    Ok(())
}
