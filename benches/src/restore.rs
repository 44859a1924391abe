//! How fast a database comes back: ours, Litestream on the same objects, and the limit of the machine; from a store that answers at once, and
//! from one that takes its time.
//!
//! The replica is written by the streamer: a base image and 249 increments, each of them awaited in the store. All runs
//! restore from the loopback server with its objects in the page cache, in turns, three times where the store answers at once; the median
//! counts. Before each run what others left unwritten is synced, and the result is compared with the database.

mod replica;

use crate::bench::Bench;
use crate::cost::if_there;
use crate::replicator::Tool;
use crate::sample::{Sample, mib, percent};
use crate::section::{Measured, Section, attempt, cells, number};
use crate::table::Table;
use crate::usage::Usage;
use replica::Replica;
use serde_json::{Value, json};
use std::time::Duration;

/// How often each is restored from a store that answers at once; from others once.
const ROUNDS: usize = 3;
/// Added to each request, milliseconds.
const LATENCIES: [u64; 3] = [0, 5, 50];
/// Longest restore.
const LIMIT: Duration = Duration::from_secs(300);

/// What restores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ours,
    OursChecked,
    Pod,
    Litestream,
    Limit,
}

impl Way {
    const ALL: [Way; 5] = [Way::Ours, Way::OursChecked, Way::Pod, Way::Litestream, Way::Limit];

    fn name(self) -> &'static str {
        match self {
            Way::Ours => "restore sqlite --integrity none",
            Way::OursChecked => "restore sqlite (quick check)",
            Way::Pod => "restore init (quick check)",
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
struct Rounds {
    seconds: Sample,
    peak: u64,
    cpu: f64,
    requests: u64,
}

pub(crate) fn measure(bench: &Bench) -> Section {
    let mut sizes = vec![bench.sized(100u64, 4)];
    if bench.large {
        sizes.extend(bench.sized([1024, 2600], [8, 12]));
    }
    let (mut tables, mut json) = (Vec::new(), json!({}));
    for size in sizes {
        let (table, numbers) = size_of(bench, size);
        tables.push(table);
        json[format!("{size} MiB")] = numbers;
    }
    Section { tables, json }
}

const HEAD: [&str; 9] = [
    "latency per request",
    "",
    "median",
    "slowest",
    "of litestream's speed",
    "of the limit",
    "CPU",
    "peak RSS",
    "requests",
];

fn size_of(bench: &Bench, size: u64) -> (Table, Value) {
    let mut table = Table::new(format!("Restore of {size} MiB"), &HEAD);
    let replica = match attempt(|| Replica::build(bench, size << 20)) {
        Ok(replica) => replica,
        Err(reason) => {
            table.note(format!("failed: {reason}"));
            return (table, json!({ "failed": reason }));
        }
    };
    let mut json = json!({ "objects": replica.objects, "object_bytes": replica.object_bytes, "database_bytes": replica.bytes });
    let mut limit = None;
    for latency in LATENCIES {
        let results = rounds(bench, &replica, latency);
        let median = |wanted: Way| {
            let found = results.iter().find(|(way, _)| *way == wanted);
            found.and_then(|(_, result)| Some(result.as_ref().ok()?.seconds.median()))
        };
        // What the machine does is no matter of the store.
        limit = limit.or(median(Way::Limit));
        for (way, result) in &results {
            let against = |other: Option<f64>| Some(other? / median(*way)?);
            let (theirs, share) = (against(median(Way::Litestream)), against(limit));
            let mut row = vec![format!("{latency} ms"), way.name().to_owned()];
            row.extend(cells(result, |r| shown(*way, r, theirs, share)));
            table.row(row);
            json[format!("{latency} ms")][way.name()] = number(result, |r| {
                json!({
                    "seconds": r.seconds.json(), "times_litestream": theirs, "of_limit": share,
                    "cpu_seconds": r.cpu, "peak_rss_bytes": r.peak, "requests": r.requests,
                })
            });
        }
    }
    table.note(format!(
        "{} objects, {} for a database of {}; written by wal-streamer, restored by all; every result was compared with the database. A pod's restore \
         claims the replica, too.",
        replica.objects,
        mib(replica.object_bytes as f64),
        mib(replica.bytes as f64)
    ));
    (table, json)
}

/// All ways in turns, so that what changes on the machine meanwhile meets all of them.
fn rounds(bench: &Bench, replica: &Replica, latency: u64) -> Vec<(Way, Measured<Rounds>)> {
    let ways = Way::ALL.into_iter().filter(|way| latency == 0 || *way != Way::Limit);
    let mut runs: Vec<(Way, Measured<Vec<Run>>)> = ways.map(|way| (way, Ok(Vec::new()))).collect();
    for round in 0..if latency == 0 { bench.sized(ROUNDS, 1) } else { 1 } {
        for (way, results) in &mut runs {
            let tool = if *way == Way::Litestream { Tool::Litestream } else { Tool::Streamer };
            let restore = || replica.restore(bench, *way, Duration::from_millis(latency), round == 0);
            match (if_there(bench, tool, restore), results) {
                (Ok(run), Ok(runs)) => runs.push(run),
                (Err(reason), results) => *results = Err(reason),
                (Ok(_), Err(_)) => {}
            }
        }
    }
    runs.into_iter().map(|(way, runs)| (way, runs.and_then(summarise))).collect()
}

fn shown(way: Way, r: &Rounds, theirs: Option<f64>, share: Option<f64>) -> [String; 7] {
    let [cpu, peak] = match way {
        Way::Limit => ["–".to_owned(), "–".to_owned()],
        _ => [format!("{:.2} s", r.cpu), mib(r.peak as f64)],
    };
    let times = theirs.map_or("–".into(), |ratio| format!("{ratio:.1} ×"));
    let share = share.map_or("–".into(), percent);
    let [median, slowest] = [r.seconds.median(), r.seconds.quantile(1.0)].map(|s| format!("{s:.2} s"));
    [median, slowest, times, share, cpu, peak, r.requests.to_string()]
}

fn summarise(runs: Vec<Run>) -> Measured<Rounds> {
    let middle = Sample::of(runs.iter().map(|run| run.usage.cpu).collect()).ok_or("no runs")?;
    Ok(Rounds {
        seconds: Sample::of(runs.iter().map(|run| run.seconds).collect()).ok_or("no runs")?,
        peak: runs.iter().map(|run| run.usage.peak).max().unwrap_or(0),
        cpu: middle.median(),
        requests: runs[0].requests,
    })
}
