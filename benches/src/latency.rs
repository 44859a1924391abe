//! How soon a commit is in the store: after a pause, and under a steady load.
//!
//! A commit counts as in the store when a file with its number or a higher one has appeared under its name; for ours
//! also when the streamer logs `durable` (store answered and local WAL synced). The bare PUT between the commits, by a client
//! that does nothing else, is the floor.

use crate::arrivals::{Arrival, Arrivals};
use crate::bench::{Bench, server};
use crate::replicator::{Replicator, Tool};
use crate::sample::{Sample, ms};
use crate::section::{MISSING, Measured, Section, attempt, cells, number};
use crate::table::Table;
use crate::writer::{Commit, Writer};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::s3::S3Server;

/// Between two commits of one database, so that the pause before each is longer than the sync interval.
const PERIOD: Duration = Duration::from_millis(1200);
/// Longest wait for the last commit.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the database.
const SIZE: u64 = 1 << 20;

/// What one replicator did with the commits of one writer.
struct Followed {
    stored: Sample,
    /// Ours only: reported as durable.
    durable: Option<Sample>,
}

/// One per replicator.
type Results = Vec<(Tool, Measured<Followed>)>;

pub(crate) fn measure(bench: &Bench) -> Section {
    let mut table = Table::new("From commit to store", &["", "commits", "p50", "p99", "max"]);
    let (put, idle) = match attempt(|| after_pauses(bench)) {
        Ok((put, idle)) => (Ok(put), idle),
        Err(reason) => (Err(reason.clone()), vec![(Tool::Streamer, Err(reason))]),
    };
    let mut json = json!({ "bare_put_seconds": number(&put, Sample::json) });
    row(&mut table, "bare PUT of 4 KiB, same server", &put);
    for (load, results) in [("after a pause", idle), ("100 commits/s", under_load(bench))] {
        for (tool, result) in results {
            let name = format!("{}, {load}", tool.name());
            json[&name] = number(&result, json_of);
            let stored = result.as_ref().map(|f| f.stored.clone()).map_err(Clone::clone);
            row(&mut table, &format!("{name}: in the store"), &stored);
            if let Ok(Followed { durable: Some(durable), .. }) = result {
                row(&mut table, &format!("{name}: reported durable"), &Ok(durable));
            }
        }
    }
    table.note(
        "After a pause: one commit per 1.2 s, the databases of both in turns. 100 commits/s: waiting for the next of one \
         upload per second is part of it.",
    );
    Section { tables: vec![table], json }
}

fn row(table: &mut Table, name: &str, sample: &Measured<Sample>) {
    let values = cells(sample, |s| [s.len().to_string(), ms(s.median()), ms(s.p99()), ms(s.quantile(1.0))]);
    table.row([vec![name.to_owned()], values.to_vec()].concat());
}

fn json_of(followed: &Followed) -> Value {
    json!({ "stored_seconds": followed.stored.json(), "durable_seconds": followed.durable.as_ref().map(Sample::json) })
}

/// A writer, its replicator, and what arrives of it. Dropped in this order.
struct Pair {
    tool: Tool,
    replicator: Replicator,
    arrivals: Arrivals,
    writer: Writer,
    commits: Vec<Commit>,
    _server: S3Server,
}

impl Pair {
    fn start(bench: &Bench, place: &Path, tool: Tool) -> Result<Pair> {
        let db = place.join(format!("{}.db", tool.name()));
        let writer = Writer::open(&db, SIZE)?;
        let server = server(place, tool.name())?;
        let replicator = Replicator::start(bench, tool, &db, &server, &[])?;
        let arrivals = Arrivals::watch(replicator.files())?;
        Ok(Pair { tool, replicator, arrivals, writer, commits: Vec::new(), _server: server })
    }

    fn commit(&mut self) -> Result<()> {
        self.commits.push(self.writer.commit(1)?);
        Ok(())
    }

    /// Waits for the last commit and compares.
    fn finish(mut self) -> Result<Followed> {
        let last = self.commits.last().context("nothing was committed")?.to;
        let arrived = self.arrivals.until(last, PATIENCE)?;
        thread::sleep(Duration::from_millis(200)); // the last line of the log
        self.replicator.must_run()?;
        let reported =
            if self.tool == Tool::Streamer { durable(&self.replicator.log()) } else { BTreeMap::new() };
        let (mut stored, mut durable) = (Vec::new(), Vec::new());
        for commit in &self.commits {
            let arrival = covering(commit, &arrived).context("a commit is in no file")?;
            stored.push(seconds(arrival.at) - seconds(commit.at));
            if let Some(time) = reported.get(&arrival.txid) {
                durable.push((time - seconds(commit.at).rem_euclid(DAY)).rem_euclid(DAY));
            }
        }
        Ok(Followed { stored: Sample::of(stored).context("no commits")?, durable: Sample::of(durable) })
    }
}

/// The first file that reaches up to the commit.
fn covering<'a>(commit: &Commit, arrived: &'a [Arrival]) -> Option<&'a Arrival> {
    arrived.iter().find(|arrival| arrival.to >= commit.to)
}

/// Both replicators beside each other, each with a database of its own, their commits in turns; bare PUTs in between.
fn after_pauses(bench: &Bench) -> Result<(Sample, Results)> {
    let place = bench.place()?;
    let mut pairs: Vec<(Tool, Measured<Pair>)> = Tool::BOTH
        .into_iter()
        .map(|tool| match (tool, &bench.litestream) {
            (Tool::Litestream, None) => (tool, Err(MISSING.into())),
            _ => (tool, attempt(|| Pair::start(bench, place.path(), tool))),
        })
        .collect();
    let bare = server(place.path(), "bare")?;
    let mut client = bare.client();
    let mut puts = Vec::new();
    thread::sleep(PERIOD);
    for turn in 0..bench.sized(30, 4) {
        for (_, pair) in &mut pairs {
            if let Ok(following) = pair
                && let Err(error) = following.commit()
            {
                *pair = Err(error.to_string());
            }
            thread::sleep(PERIOD / 3);
        }
        let started = Instant::now();
        let reply = client.create(&format!("bare/{turn}"), &[turn as u8; 4096])?;
        anyhow::ensure!(reply.status == 200, "the bare PUT got {}", reply.status);
        puts.push(started.elapsed().as_secs_f64());
        thread::sleep(PERIOD / 3);
    }
    let finish = |pair: Measured<Pair>| pair.and_then(|pair| attempt(|| pair.finish()));
    let results = pairs.into_iter().map(|(tool, pair)| (tool, finish(pair))).collect();
    Ok((Sample::of(puts).context("no PUTs")?, results))
}

/// One after the other.
fn under_load(bench: &Bench) -> Results {
    let measured = |tool: Tool| {
        if tool == Tool::Litestream && bench.litestream.is_none() {
            return Err(MISSING.into());
        }
        attempt(|| {
            let place = bench.place()?;
            let mut pair = Pair::start(bench, place.path(), tool)?;
            let started = Instant::now();
            for turn in 0..bench.sized(600u32, 100) {
                let due = Duration::from_millis(10) * turn;
                thread::sleep(due.saturating_sub(started.elapsed()));
                pair.commit()?;
            }
            pair.finish()
        })
    };
    Tool::BOTH.into_iter().map(|tool| (tool, measured(tool))).collect()
}

const DAY: f64 = 86_400.0;

/// Seconds since the epoch.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// From the streamer's log: when each TXID was reported durable, in seconds of the day.
fn durable(log: &str) -> BTreeMap<u64, f64> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["message"] == "durable");
    lines
        .filter_map(|line| Some((line["txid"].as_u64()?, time_of_day(line["timestamp"].as_str()?)?)))
        .collect()
}

/// Of an RFC 3339 time in UTC.
fn time_of_day(text: &str) -> Option<f64> {
    let mut parts = text.split_once('T')?.1.trim_end_matches('Z').split(':');
    let mut part = || parts.next()?.parse::<f64>().ok();
    Some(part()? * 3600.0 + part()? * 60.0 + part()?)
}
