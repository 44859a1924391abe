//! What a replicator itself costs: processor time and memory per GiB of WAL, memory while nothing happens.
//!
//! The application's plan is fixed, so the WAL it writes is measured once, by a run that never checkpoints; the measured
//! runs repeat exactly those transactions at full speed.

use crate::app::application;
use crate::bench::{Bench, server};
use crate::replicator::{Replicator, Tool};
use crate::sample::mib;
use crate::section::{MISSING, Measured, Section, attempt, cells, number};
use crate::table::Table;
use crate::usage::Usage;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;
use testkit::app::{AppArgs, Checkpoint};

/// Transactions before the measurement begins.
const BEFORE: u64 = 100;

/// One replicator's bill.
struct Cost {
    /// From the start to the end of its process.
    busy: Usage,
    /// Bytes the server received.
    uploaded: u64,
    /// Resident after some seconds of nothing.
    idle: u64,
}

pub(crate) fn measure(bench: &Bench) -> Section {
    let wal = attempt(|| wal_bytes(bench));
    let gib = wal.clone().map(|bytes| bytes as f64 / (1u64 << 30) as f64);
    let head = [
        "",
        "WAL written",
        "CPU per GiB of WAL",
        "peak RSS",
        "uploaded per GiB of WAL",
        "idle RSS, 1 database",
    ];
    let mut table = Table::new("Cost of the replicator", &head);
    let mut json = json!({ "wal_bytes": number(&wal, |bytes| json!(bytes)) });
    for tool in Tool::BOTH {
        let cost = match (tool, &bench.litestream, &gib) {
            (Tool::Litestream, None, _) => Err(MISSING.into()),
            (_, _, Err(reason)) => Err(reason.clone()),
            _ => attempt(|| cost(bench, tool)),
        };
        let gib = gib.clone().unwrap_or(f64::NAN);
        let mut row = vec![tool.name().to_owned()];
        row.extend(cells(&wal, |bytes| [mib(*bytes as f64)]));
        row.extend(cells(&cost, |c| {
            let cpu = format!("{:.2} s", c.busy.cpu / gib);
            [cpu, mib(c.busy.peak as f64), mib(c.uploaded as f64 / gib), mib(c.idle as f64)]
        }));
        table.row(row);
        json[tool.name()] = number(&cost, |c| {
            json!({
                "cpu_seconds": c.busy.cpu, "cpu_seconds_per_gib": c.busy.cpu / gib, "peak_rss_bytes": c.busy.peak,
                "uploaded_bytes": c.uploaded, "idle_rss_bytes": c.idle,
            })
        });
    }
    table.note("One writer at full speed, synchronous NORMAL; from the start of the replicator until it had made everything durable and ended on SIGTERM.");
    Section { tables: vec![table], json }
}

fn workload(bench: &Bench, db: &Path) -> AppArgs {
    let mut args = AppArgs::new(db);
    args.transactions = bench.sized(10_000, 500);
    args
}

fn prepare(db: &Path, checkpoint: Checkpoint) -> Result<()> {
    let mut args = AppArgs::new(db);
    (args.transactions, args.checkpoint) = (BEFORE, checkpoint);
    application(&args).map(drop)
}

/// Bytes of WAL that the workload writes: without checkpoints the WAL only grows.
fn wal_bytes(bench: &Bench) -> Result<u64> {
    let place = bench.place()?;
    let db = place.path().join("app.db");
    prepare(&db, Checkpoint::Auto)?;
    // A connection that stays keeps the WAL from being folded back by the last one to leave.
    let keeper = rusqlite::Connection::open(&db)?;
    keeper.query_row("SELECT count(*) FROM ledger", [], |row| row.get::<_, i64>(0))?;
    let mut args = workload(bench, &db);
    args.checkpoint = Checkpoint::None;
    application(&args)?;
    let bytes = fs::metadata(place.path().join("app.db-wal")).context("the WAL is gone")?.len();
    drop(keeper);
    Ok(bytes)
}

fn cost(bench: &Bench, tool: Tool) -> Result<Cost> {
    let place = bench.place()?;
    let db = place.path().join("app.db");
    prepare(&db, Checkpoint::Auto)?;
    let server = server(place.path(), "store")?;
    let replicator = Replicator::start(bench, tool, &db, &server, &[])?;
    thread::sleep(bench.sized(Duration::from_secs(5), Duration::from_secs(1)));
    let idle = replicator.usage()?.rss;
    application(&workload(bench, &db))?;
    let busy = replicator.stop()?;
    Ok(Cost { busy, uploaded: server.counts().bytes_in, idle })
}

/// For other sections: a measurement needs a replicator that may be missing.
pub(crate) fn if_there<T>(bench: &Bench, tool: Tool, measure: impl FnOnce() -> Result<T>) -> Measured<T> {
    match (tool, &bench.litestream) {
        (Tool::Litestream, None) => Err(MISSING.into()),
        _ => attempt(measure),
    }
}
