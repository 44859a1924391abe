//! What a replicator costs the application: commits per second and latency, without one, beside ours, beside Litestream.
//!
//! Every case runs in two rounds of opposite order, so that a machine that drifts does not favour one of them.

use crate::app::{Report, application};
use crate::bench::{Bench, server};
use crate::replicator::{Replicator, Tool};
use crate::sample::{ms, percent};
use crate::section::{MISSING, Measured, Section, attempt, cells, number};
use crate::table::Table;
use anyhow::Result;
use serde_json::{Value, json};
use testkit::app::AppArgs;

/// How the application writes.
#[derive(Clone, Copy)]
struct Case {
    writers: u32,
    /// Commits per second, 0 for as many as possible.
    rate: f64,
    full: bool,
}

/// The mean of the rounds.
#[derive(Clone, Copy)]
struct Outcome {
    report: Report,
    /// Upper bound of the longest hold of the write lock, seconds.
    lock: Option<f64>,
}

impl Outcome {
    fn speed(&self) -> [String; 3] {
        [format!("{:.0}", self.report.rate), ms(self.report.p50), ms(self.report.p99)]
    }
}

pub(crate) fn measure(bench: &Bench) -> Section {
    let mut head = vec!["writers", "pace", "synchronous", "alone: commits/s", "p50", "p99"];
    head.extend(["wal-streamer: commits/s", "of alone", "p50", "p99", "longest write lock"]);
    head.extend(["litestream: commits/s", "of alone", "p50", "p99"]);
    let mut table = Table::new("Application throughput", &head);
    let mut rows = Vec::new();
    for case in cases(bench) {
        let (alone, ours, theirs) = rounds(bench, case);
        let pace = if case.rate > 0.0 { format!("{}/s", case.rate) } else { "as fast as it can".into() };
        let mut row = vec![case.writers.to_string(), pace, if case.full { "FULL" } else { "NORMAL" }.into()];
        let rate = alone.as_ref().map(|outcome| outcome.report.rate).unwrap_or(f64::NAN);
        row.extend(cells(&alone, |o| o.speed()));
        row.extend(cells(&ours, |o| {
            let [commits, p50, p99] = o.speed();
            let lock = o.lock.map_or("never held".into(), |seconds| format!("≤ {}", ms(seconds)));
            [commits, percent(o.report.rate / rate), p50, p99, lock]
        }));
        row.extend(cells(&theirs, |o| {
            let [commits, p50, p99] = o.speed();
            [commits, percent(o.report.rate / rate), p50, p99]
        }));
        table.row(row);
        rows.push(json!({
            "writers": case.writers, "rate": case.rate, "synchronous": if case.full { "full" } else { "normal" },
            "alone": json_of(&alone), "wal_streamer": json_of(&ours), "litestream": json_of(&theirs),
        }));
    }
    table.note("Mean of two rounds in opposite order; each round starts with a new database. Latency is BEGIN IMMEDIATE to the end of COMMIT.");
    Section { tables: vec![table], json: json!(rows) }
}

fn cases(bench: &Bench) -> Vec<Case> {
    let mut cases = Vec::new();
    for full in [false, true] {
        for rate in [1000.0, 0.0] {
            cases.extend([1, 4].map(|writers| Case { writers, rate, full }));
        }
    }
    cases.truncate(bench.sized(cases.len(), 3));
    cases
}

fn rounds(bench: &Bench, case: Case) -> (Measured<Outcome>, Measured<Outcome>, Measured<Outcome>) {
    let mut order = [None, Some(Tool::Streamer), Some(Tool::Litestream)];
    let mut outcomes: [Vec<Measured<Outcome>>; 3] = Default::default();
    for _ in 0..bench.sized(2, 1) {
        for tool in order {
            let place = match tool {
                None => 0,
                Some(Tool::Streamer) => 1,
                Some(Tool::Litestream) => 2,
            };
            if place == 2 && bench.litestream.is_none() {
                outcomes[place].push(Err(MISSING.into()));
                continue;
            }
            outcomes[place].push(attempt(|| round(bench, case, tool)));
        }
        order.reverse();
    }
    let [alone, ours, theirs] = outcomes.map(mean);
    (alone, ours, theirs)
}

fn round(bench: &Bench, case: Case, tool: Option<Tool>) -> Result<Outcome> {
    let place = bench.place()?;
    let db = place.path().join("app.db");
    let mut args = AppArgs::new(&db);
    args.sync_full = case.full;
    args.transactions = 100;
    application(&args)?; // the database exists before anyone follows it
    // What a WAL costs that is not restarted shows only after some seconds.
    let seconds = bench.sized(if case.rate > 0.0 { 2 } else { 10 }, 1);
    (args.writers, args.rate, args.transactions, args.seconds) = (case.writers, case.rate, 0, seconds);
    let Some(tool) = tool else {
        return Ok(Outcome { report: application(&args)?, lock: None });
    };
    let server = server(place.path(), "store")?;
    let mut replicator = Replicator::start(bench, tool, &db, &server, &[])?;
    let report = application(&args)?;
    replicator.must_run()?;
    let lock = if tool == Tool::Streamer { replicator.longest_lock()? } else { None };
    Ok(Outcome { report, lock })
}

/// One failed round fails the case: a mean of fewer rounds would not be comparable.
fn mean(outcomes: Vec<Measured<Outcome>>) -> Measured<Outcome> {
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let of = |pick: fn(&Report) -> f64| {
        outcomes.iter().map(|o| pick(&o.report)).sum::<f64>() / outcomes.len() as f64
    };
    let report = Report {
        committed: of(|r| r.committed),
        rate: of(|r| r.rate),
        p50: of(|r| r.p50),
        p99: of(|r| r.p99),
        max: of(|r| r.max),
    };
    Ok(Outcome { report, lock: outcomes.iter().filter_map(|o| o.lock).reduce(f64::max) })
}

fn json_of(outcome: &Measured<Outcome>) -> Value {
    number(outcome, |o| {
        json!({
            "commits_per_second": o.report.rate, "p50_seconds": o.report.p50, "p99_seconds": o.report.p99,
            "max_seconds": o.report.max, "write_lock_at_most_seconds": o.lock,
        })
    })
}
