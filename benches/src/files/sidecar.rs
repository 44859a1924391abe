//! What the sidecar costs: `config-syncer watch` over the same events, and while nothing happens.
//!
//! Requests are counted from the event until the commit is in the store. The scheduled verification and retention are off, as their budget is
//! their own. The hour of idleness is 400 s that were counted, times nine: in them every timer of the sidecar went off at least once (the
//! look by the clock comes every 225 to 375 s).

use super::tree::{Event, Size, plant};
use crate::bench::{Bench, server};
use crate::replicator::clean;
use crate::sample::mib;
use crate::section::{Section, attempt, cells, number};
use crate::table::Table;
use crate::usage::Usage;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use testkit::procs::{self, Proc};
use testkit::s3::{Counts, S3Server};

const PATIENCE: Duration = Duration::from_secs(60);

/// One event, or the minute.
struct Visit {
    what: &'static str,
    counts: Counts,
    usage: Usage,
    /// Processor time of this visit.
    cpu: f64,
}

/// Counted, and how many times of it are an hour.
const IDLE: (Duration, u64) = (Duration::from_secs(400), 9);

/// While nothing happens.
pub(crate) fn idle(bench: &Bench) -> Section {
    let (window, times) = (bench.sized(IDLE.0, Duration::from_secs(3)), IDLE.1);
    let size = Size::middle(bench);
    let head = ["", "PUT", "other requests", "an hour", "CPU", "RSS after"];
    let mut table = Table::new(
        format!("config-syncer watch over {}, {} s of idleness", size.name(), window.as_secs()),
        &head,
    );
    let visited = attempt(|| {
        let mut visits = visits(bench, size, &[Event::First], Some(window))?;
        visits.pop().context("nothing was measured")
    });
    let mut row = vec!["idle".to_owned()];
    row.extend(cells(&visited, |v| {
        let (all, put) = (v.counts.total(), v.counts.writes());
        let [put, other, hour] = [put, all - put, all * times].map(|n| n.to_string());
        [put, other, hour, format!("{:.2} s", v.cpu), mib(v.usage.rss as f64)]
    }));
    table.row(row);
    let json = number(
        &visited,
        |v| json!({ "seconds": window.as_secs(), "requests": v.counts.total(), "cpu_seconds": v.cpu, "rss_bytes": v.usage.rss }),
    );
    Section { tables: vec![table], json }
}

pub(crate) fn measure(bench: &Bench) -> Section {
    let idle = Duration::from_secs(bench.sized(60, 3));
    let events: Vec<Event> = Event::ALL.into_iter().filter(|event| *event != Event::Nothing).collect();
    let head = ["", "PUT", "other requests", "sent", "CPU", "RSS after", "peak RSS"];
    let (mut tables, mut json) = (Vec::new(), json!({}));
    for size in Size::all(bench) {
        let mut table = Table::new(format!("config-syncer watch over {}", size.name()), &head);
        let is_last = size.files == Size::middle(bench).files;
        match attempt(|| visits(bench, size, &events, is_last.then_some(idle))) {
            Ok(visits) => {
                for visit in visits {
                    let visited = Ok(visit);
                    let mut row = vec![visited.as_ref().map_or("", |v: &Visit| v.what).to_owned()];
                    row.extend(cells(&visited, |v| {
                        let other = v.counts.total() - v.counts.writes();
                        let [put, other] = [v.counts.writes(), other].map(|n| n.to_string());
                        let [sent, rss, peak] =
                            [v.counts.bytes_in, v.usage.rss, v.usage.peak].map(|n| mib(n as f64));
                        [put, other, sent, format!("{:.2} s", v.cpu), rss, peak]
                    }));
                    table.row(row);
                    json[size.name()][visited.as_ref().map_or("", |v| v.what)] = number(&visited, |v| {
                        json!({
                            "put": v.counts.writes(), "total": v.counts.total(), "bytes_in": v.counts.bytes_in,
                            "cpu_seconds": v.cpu, "rss_bytes": v.usage.rss, "peak_rss_bytes": v.usage.peak,
                        })
                    });
                }
            }
            Err(reason) => table.note(format!("failed: {reason}")),
        }
        table.note("Started on an empty bucket: the first row has the claim, the question whether the store refuses a second create, and repo.json.");
        tables.push(table);
    }
    Section { tables, json }
}

fn visits(bench: &Bench, size: Size, events: &[Event], idle: Option<Duration>) -> Result<Vec<Visit>> {
    let place = bench.place()?;
    let tree = place.path().join("tree");
    plant(&tree, size)?;
    let server = server(place.path(), "store")?;
    let mut command = Command::new(procs::bin("config-syncer"));
    clean(&mut command, &server);
    command.args(["--log-format", "json", "watch"]).arg(&tree).arg(server.url("ours"));
    command.args(["--debounce", "300ms", "--verify-every", "0", "--prune-every", "0"]);
    command.args(["--listen", "127.0.0.1:0"]);
    let process = Proc::start(command);
    let mut before = (Counts::default(), 0.0);
    let mut visits = Vec::new();
    for (i, event) in events.iter().enumerate() {
        event.happen(&tree, size)?;
        committed(&process, &server, i + 1)?;
        visits.push(visit(event.name(), &process, &server, &mut before)?);
    }
    if let Some(idle) = idle {
        thread::sleep(idle);
        let name = if idle.as_secs() == 60 { "an idle minute" } else { "idle" };
        visits.push(visit(name, &process, &server, &mut before)?);
    }
    Ok(visits)
}

/// Waits until so many snapshots are committed and the requests have come to rest.
fn committed(process: &Proc, server: &S3Server, snapshots: usize) -> Result<()> {
    let started = Instant::now();
    // One of the commits is the claim.
    while server.keys("ours/m/").len() < snapshots + 1 {
        ensure!(started.elapsed() < PATIENCE, "no commit: {}", process.log_tail());
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(700));
    Ok(())
}

fn visit(what: &'static str, process: &Proc, server: &S3Server, before: &mut (Counts, f64)) -> Result<Visit> {
    let counts = server.counts();
    let usage = Usage::of(process.id()).context("the process is gone")?;
    let visit = Visit { what, counts: counts.since(&before.0), usage, cpu: usage.cpu - before.1 };
    *before = (counts, usage.cpu);
    Ok(visit)
}
