//! What the store is asked, counted at the server: while nothing happens, and at one commit per second.
//!
//! Both replicators and both loads run beside each other, each with its own server; none of them uses much of anything.

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
use std::time::Duration;
use testkit::s3::{Counts, S3Server};

/// How one replicator with one load was met.
struct Visit {
    tool: Tool,
    busy: bool,
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
    let seconds: u32 = bench.sized(60, 5);
    let head = [
        "",
        "load",
        "PUT",
        "GET",
        "HEAD",
        "LIST",
        "DELETE",
        "other",
        "all",
        "bytes sent",
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
    for Visit { tool, busy, counts } in visits {
        let load = if busy { "1 commit/s" } else { "idle" };
        let mut row = vec![tool.name().to_owned(), load.to_owned()];
        row.extend(cells(&counts, |(c, u)| {
            let other = c.total() - c.put - c.get - c.head - c.list - c.delete;
            let [put, get, head, list, delete, other, all, bytes] =
                [c.put, c.get, c.head, c.list, c.delete, other, c.total(), c.bytes_in].map(|n| n.to_string());
            [put, get, head, list, delete, other, all, bytes, format!("{:.2} s", u.cpu), mib(u.rss as f64)]
        }));
        table.row(row);
        json[format!("{}, {load}", tool.name())] = number(&counts, |(c, u)| {
            json!({
                "put": c.put, "get": c.get, "head": c.head, "list": c.list, "delete": c.delete, "total": c.total(),
                "bytes_in": c.bytes_in, "bytes_out": c.bytes_out, "cpu_seconds": u.cpu, "rss_bytes": u.rss,
            })
        });
    }
    table.note("Requests of a restore are in its table.");
    Section { tables: vec![table], json }
}

fn visits(bench: &Bench, seconds: u32) -> Result<Vec<Visit>> {
    let place = bench.place()?;
    let loads = [
        (Tool::Streamer, false),
        (Tool::Streamer, true),
        (Tool::Litestream, false),
        (Tool::Litestream, true),
    ];
    let mut all: Vec<(Tool, bool, Measured<Running>)> = loads
        .into_iter()
        .map(|(tool, busy)| (tool, busy, if_there(bench, tool, || start(bench, place.path(), tool, busy))))
        .collect();
    thread::sleep(Duration::from_secs(2)); // starts have settled
    for (_, _, running) in &mut all {
        if let Ok(running) = running {
            running.before = running.server.counts();
            running.cpu_before = running.replicator.usage()?.cpu;
        }
    }
    for _ in 0..seconds {
        for (_, busy, running) in &mut all {
            if let (true, Ok(following)) = (*busy, running.as_mut())
                && let Err(error) = following.writer.commit(1)
            {
                *running = Err(error.to_string());
            }
        }
        thread::sleep(Duration::from_secs(1));
    }
    let visits =
        all.into_iter().map(|(tool, busy, running)| Visit { tool, busy, counts: running.and_then(finish) });
    Ok(visits.collect())
}

fn start(bench: &Bench, place: &Path, tool: Tool, busy: bool) -> Result<Running> {
    let name = format!("{}-{busy}", tool.name());
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
