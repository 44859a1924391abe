//! What the store is asked and sent, counted at the server, under four loads.
//!
//! Both replicators and all loads run beside each other for the same time, each with its own server; none of them uses much of
//! anything, and counts are not times. The time is long enough for everything that both do by default every few seconds or minutes:
//! syncs (1 s), merges into level 1 (30 s) and level 2 (5 min), the first removal of merged files (5 min).

use crate::bench::{Bench, server};
use crate::cost::if_there;
use crate::replicator::{Replicator, Tool};
use crate::sample::mib;
use crate::section::{Measured, Section, attempt, cells, number};
use crate::table::Table;
use crate::usage::Usage;
use crate::writer::Writer;
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use testkit::s3::{Counts, S3Server};

/// Transactions of a burst, each with one document.
const BURST: u64 = 10_000;

/// From the start to the count.
const SETTLED: Duration = Duration::from_secs(90);

/// What the application does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Idle,
    /// One commit at the begin of every minute; only the hour is extrapolated.
    PerMinute,
    PerSecond,
    /// All at once at the begin, as fast as it can; then nothing.
    Burst,
}

impl Load {
    const ALL: [Load; 4] = [Load::Idle, Load::PerMinute, Load::PerSecond, Load::Burst];

    fn name(self) -> &'static str {
        match self {
            Load::Idle => "idle",
            Load::PerMinute => "1 commit/min",
            Load::PerSecond => "1 commit/s",
            Load::Burst => "burst of 10,000 commits",
        }
    }

    /// Commits in this second.
    fn commits(self, second: u32) -> u64 {
        match self {
            Load::Idle | Load::Burst => 0,
            Load::PerMinute => u64::from(second.is_multiple_of(60)),
            Load::PerSecond => 1,
        }
    }
}

/// How one replicator with one load was met.
struct Visit {
    tool: Tool,
    load: Load,
    counts: Measured<(Counts, Usage)>,
}

/// What runs during the count. Dropped in this order.
struct Running {
    replicator: Replicator,
    writer: Writer,
    before: Counts,
    cpu_before: f64,
    server: S3Server,
}

pub(crate) fn measure(bench: &Bench) -> Section {
    let seconds: u32 = bench.sized(360, 5);
    let head = [
        "load",
        "",
        "PUT",
        "LIST",
        "GET",
        "HEAD",
        "DELETE",
        "other",
        "all",
        "per hour",
        "bytes sent",
        "bytes fetched",
        "CPU",
        "RSS after",
    ];
    let mut table = Table::new(format!("Requests in {seconds} s"), &head);
    let mut json = json!({ "seconds": seconds });
    let visits = match attempt(|| visits(bench, seconds)) {
        Ok(visits) => visits,
        Err(reason) => {
            table.note(format!("failed: {reason}"));
            Vec::new()
        }
    };
    for Visit { tool, load, counts } in visits {
        let mut row = vec![load.name().to_owned(), tool.name().to_owned()];
        row.extend(cells(&counts, |(c, u)| {
            let other = c.total() - c.put - c.get - c.head - c.list - c.delete;
            let hour = match load {
                Load::Burst => "–".to_owned(),
                _ => (c.total() * 3_600 / u64::from(seconds)).to_string(),
            };
            let [put, list, get, head, delete, other, all] =
                [c.put, c.list, c.get, c.head, c.delete, other, c.total()].map(|n| n.to_string());
            let [sent, fetched] = [c.bytes_in, c.bytes_out].map(kib);
            let (cpu, rss) = (format!("{:.2} s", u.cpu), mib(u.rss as f64));
            [put, list, get, head, delete, other, all, hour, sent, fetched, cpu, rss]
        }));
        table.row(row);
        json[format!("{}, {}", tool.name(), load.name())] = number(&counts, |(c, u)| {
            json!({
                "put": c.put, "get": c.get, "head": c.head, "list": c.list, "delete": c.delete, "total": c.total(),
                "bytes_in": c.bytes_in, "bytes_out": c.bytes_out, "cpu_seconds": u.cpu, "rss_bytes": u.rss,
            })
        });
    }
    table.note("A database of 1 MiB each; counted from 90 s after the start, when what a new replica asks once is over. Requests of a restore are in its table.");
    Section { tables: vec![table], json }
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn visits(bench: &Bench, seconds: u32) -> Result<Vec<Visit>> {
    let place = bench.place()?;
    let burst = bench.sized(BURST, 100);
    let loads = Load::ALL.into_iter().flat_map(|load| Tool::BOTH.map(|tool| (tool, load)));
    let mut all: Vec<(Tool, Load, Measured<Running>)> = loads
        .map(|(tool, load)| (tool, load, if_there(bench, tool, || start(bench, place.path(), tool, load))))
        .collect();
    // A new replica is read back once, after a minute: that belongs to no load.
    thread::sleep(bench.sized(SETTLED, Duration::from_secs(2)));
    for (_, _, running) in &mut all {
        if let Ok(running) = running {
            running.before = running.server.counts();
            running.cpu_before = running.replicator.usage()?.cpu;
        }
    }
    let (bursts, others): (Vec<_>, Vec<_>) = all.iter_mut().partition(|(_, load, _)| *load == Load::Burst);
    thread::scope(|scope| {
        // One burst after the other, so that each has the machine.
        scope.spawn(move || bursts.into_iter().for_each(|(_, _, running)| commit(running, burst)));
        let started = Instant::now();
        let mut others = others;
        for second in 0..seconds {
            others.iter_mut().for_each(|(_, load, running)| commit(running, load.commits(second)));
            let next = Duration::from_secs(u64::from(second) + 1);
            thread::sleep(next.saturating_sub(started.elapsed()));
        }
    });
    let visits =
        all.into_iter().map(|(tool, load, running)| Visit { tool, load, counts: running.and_then(finish) });
    Ok(visits.collect())
}

fn commit(running: &mut Measured<Running>, times: u64) {
    if let Ok(following) = running
        && let Err(error) = (0..times).try_for_each(|_| following.writer.commit(1).map(drop))
    {
        *running = Err(error.to_string());
    }
}

fn start(bench: &Bench, place: &Path, tool: Tool, load: Load) -> Result<Running> {
    let name = format!("{}-{}", tool.name(), load.name().replace([' ', '/', ','], "-"));
    let db = place.join(format!("{name}.db"));
    let writer = Writer::open(&db, 1 << 20)?;
    let server = server(place, &name)?;
    let replicator = Replicator::start(bench, tool, &db, &server, &[])?;
    Ok(Running { replicator, writer, before: server.counts(), cpu_before: 0.0, server })
}

fn finish(mut running: Running) -> Measured<(Counts, Usage)> {
    attempt(|| {
        running.replicator.must_run()?;
        let mut usage = running.replicator.usage()?;
        usage.cpu -= running.cpu_before;
        Ok((running.server.counts().since(&running.before), usage))
    })
}
