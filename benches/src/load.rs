//! Load: ten thousand small transactions a second, and with `--large` a database of 5 GiB that is written to while its first image goes out.
//!
//! What the machine's SQLite reaches alone is measured beside it, with the same application. In the end everything is restored and compared bit
//! for bit.

mod grown;
mod pacer;

use crate::app::application;
use crate::bench::{Bench, server};
use crate::replicator::{Replicator, Tool, clean};
use crate::sample::{mib, ms, percent};
use crate::section::{Measured, Section, attempt, cells, number};
use crate::table::Table;
use crate::usage::{Usage, run};
use anyhow::{Context, Result, ensure};
use grown::Grown;
use pacer::{Paced, Pacer};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use testkit::app::AppArgs;
use testkit::procs;
use testkit::s3::S3Server;

/// What has to stay free on the disk.
const SPARE: u64 = 15 << 30;
/// Longest restore.
const LIMIT: Duration = Duration::from_secs(600);

/// What the streamer did beside an application.
#[derive(Clone, Copy)]
struct Followed {
    paced: Paced,
    /// Bytes of the WAL at most.
    wal: u64,
    usage: Usage,
    /// Seconds that the application ran.
    seconds: f64,
    puts: u64,
    uploaded: u64,
    /// Seconds from SIGTERM until everything was durable.
    drain: f64,
}

pub(crate) fn measure(bench: &Bench) -> Section {
    let (small, numbers) = small(bench);
    let (mut tables, mut json) = (vec![small], json!({ "small": numbers }));
    if bench.large {
        let (large, numbers) = large(bench);
        tables.push(large);
        json["large"] = numbers;
    }
    Section { tables, json }
}

/// A row of the first table.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    /// Transactions a second, 0 for as many as possible.
    rate: f64,
    /// The plan of `hw-app` instead: some ten rows and documents of 2 KB per transaction.
    plan: bool,
}

const CASES: [Case; 3] = [
    Case { what: "one row of 100 bytes, 10,000/s", rate: 10_000.0, plan: false },
    Case { what: "the same, as fast as it can", rate: 0.0, plan: false },
    Case { what: "hw-app (documents, an index), 10,000/s", rate: 10_000.0, plan: true },
];

fn small(bench: &Bench) -> (Table, Value) {
    let mut head = vec!["transaction", "alone: commits/s", "p99", "longest"];
    head.extend([
        "with wal-streamer: commits/s",
        "of alone",
        "p99",
        "longest",
        "WAL at most",
        "CPU",
        "peak RSS",
    ]);
    head.extend(["PUTs", "sent", "drain"]);
    let mut table = Table::new("Load: small transactions", &head);
    let mut rows = Vec::new();
    for case in CASES {
        let alone = attempt(|| run_alone(bench, case));
        let with = attempt(|| run_followed(bench, case));
        let rate = alone.as_ref().map_or(f64::NAN, |paced| paced.rate);
        let mut row = vec![case.what.to_owned()];
        row.extend(cells(&alone, |p| [format!("{:.0}", p.rate), ms(p.p99), ms(p.max)]));
        row.extend(cells(&with, |f| {
            let p = f.paced;
            [
                format!("{:.0}", p.rate),
                percent(p.rate / rate),
                ms(p.p99),
                ms(p.max),
                mib(f.wal as f64),
                percent(f.usage.cpu / f.seconds),
                mib(f.usage.peak as f64),
                f.puts.to_string(),
                mib(f.uploaded as f64),
                format!("{:.2} s", f.drain),
            ]
        }));
        table.row(row);
        rows.push(json!({
            "what": case.what, "rate": case.rate, "alone": number(&alone, json_of), "wal_streamer": number(&with, |f| {
                json!({
                    "application": json_of(&f.paced), "wal_bytes": f.wal, "cpu_seconds": f.usage.cpu, "seconds": f.seconds,
                    "peak_rss_bytes": f.usage.peak, "puts": f.puts, "uploaded_bytes": f.uploaded, "drain_seconds": f.drain,
                })
            }),
        }));
    }
    table.note(format!(
        "One connection, synchronous NORMAL, {} s each. CPU: share of one core, start and drain included. Restored and compared bit for bit afterwards.",
        time(bench).as_secs()
    ));
    (table, json!(rows))
}

fn json_of(p: &Paced) -> Value {
    json!({ "commits_per_second": p.rate, "p50_seconds": p.p50, "p99_seconds": p.p99, "max_seconds": p.max })
}

fn time(bench: &Bench) -> Duration {
    bench.sized(Duration::from_secs(20), Duration::from_secs(1))
}

/// The application for its time.
fn load(bench: &Bench, case: Case, db: &Path) -> Result<Paced> {
    if !case.plan {
        return Pacer::run(db, case.rate, time(bench));
    }
    let mut args = AppArgs::new(db);
    (args.rate, args.transactions, args.seconds) = (case.rate, 0, time(bench).as_secs());
    let report = application(&args)?;
    Ok(Paced { rate: report.rate, p50: report.p50, p99: report.p99, max: report.max })
}

fn begin(case: Case, db: &Path) -> Result<()> {
    match case.plan {
        true => application(&AppArgs::new(db)).map(drop),
        false => pacer::prepare(db),
    }
}

fn run_alone(bench: &Bench, case: Case) -> Result<Paced> {
    let place = bench.place()?;
    let db = place.path().join("app.db");
    begin(case, &db)?;
    load(bench, case, &db)
}

fn run_followed(bench: &Bench, case: Case) -> Result<Followed> {
    let place = bench.place()?;
    let db = place.path().join("app.db");
    begin(case, &db)?;
    let server = server(place.path(), "store")?;
    let mut replicator = Replicator::start(bench, Tool::Streamer, &db, &server, &[])?;
    let grown = Grown::watch(wal(&db));
    let begun = Instant::now();
    let paced = load(bench, case, &db)?;
    let seconds = begun.elapsed().as_secs_f64();
    let wal = grown.finish();
    replicator.must_run()?;
    let begun = Instant::now();
    let usage = replicator.stop()?;
    let drain = begun.elapsed().as_secs_f64();
    let counts = server.counts();
    come_back(&db, &server, place.path())?;
    Ok(Followed { paced, wal, usage, seconds, puts: counts.put, uploaded: counts.bytes_in, drain })
}

fn wal(db: &Path) -> PathBuf {
    db.with_extension("db-wal")
}

/// Restores and compares; seconds of the restore, and what it cost.
fn come_back(db: &Path, server: &S3Server, place: &Path) -> Result<(f64, Usage)> {
    let busy: i64 =
        Connection::open(db)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    ensure!(busy == 0, "somebody still reads the database");
    let out = place.join("restored.db");
    let mut command = Command::new(procs::bin("restore"));
    command.arg("sqlite").arg(server.url(Tool::Streamer.name())).arg("-o").arg(&out);
    clean(&mut command, server);
    nix::unistd::sync();
    let ran = run(&mut command, LIMIT)?;
    same(db, &out)?;
    std::fs::remove_file(&out)?;
    Ok((ran.seconds, ran.usage))
}

/// Bit for bit, a MiB at a time.
fn same(a: &Path, b: &Path) -> Result<()> {
    let (mut left, mut right) = (File::open(a)?, File::open(b)?);
    let length = left.metadata()?.len();
    ensure!(length == right.metadata()?.len(), "the restored database has another length");
    let (mut one, mut two) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < length {
        let n = (length - at).min(1 << 20) as usize;
        left.read_exact(&mut one[..n])?;
        right.read_exact(&mut two[..n])?;
        ensure!(one[..n] == two[..n], "the restored database differs between {at} and {}", at + n as u64);
        at += n as u64;
    }
    Ok(())
}

/// The large database.
struct Large {
    bytes: u64,
    alone: Paced,
    /// While the first image went out.
    during: Paced,
    /// Seconds from the start of the streamer until its first image was stored.
    image: f64,
    wal: u64,
    /// While it only followed.
    after: Paced,
    usage: Usage,
    uploaded: u64,
    drain: f64,
    restore: (f64, Usage),
}

/// Commits per second beside a large database.
const BESIDE: f64 = 1_000.0;

fn large(bench: &Bench) -> (Table, Value) {
    let measured: Measured<Large> = attempt(|| run_large(bench));
    let title = match &measured {
        Ok(large) => format!("Load: a database of {}", mib(large.bytes as f64)),
        Err(_) => "Load: a large database".to_owned(),
    };
    let mut table = Table::new(title, &["", "application: commits/s", "p99", "longest"]);
    let row = |what: &str, pick: fn(&Large) -> Paced| {
        let mut row = vec![what.to_owned()];
        row.extend(cells(&measured, |large| {
            let p = pick(large);
            [format!("{:.0}", p.rate), ms(p.p99), ms(p.max)]
        }));
        row
    };
    table.row(row("alone, paced at 1,000/s", |large| large.alone));
    table.row(row("while the first image goes out", |large| large.during));
    table.row(row("followed", |large| large.after));
    if let Ok(large) = &measured {
        let (seconds, usage) = large.restore;
        table.note(format!(
            "First image after {:.1} s; the WAL grew to {} meanwhile. wal-streamer: {:.1} s of CPU, peak RSS {}, {} sent, drain {:.2} s. \
             Restored (quick check) in {seconds:.1} s with {} of memory, and compared bit for bit.",
            large.image,
            mib(large.wal as f64),
            large.usage.cpu,
            mib(large.usage.peak as f64),
            mib(large.uploaded as f64),
            large.drain,
            mib(usage.peak as f64),
        ));
    }
    let json = number(&measured, |large| {
        json!({
            "bytes": large.bytes, "alone": json_of(&large.alone), "during": json_of(&large.during), "after": json_of(&large.after),
            "image_seconds": large.image, "wal_bytes": large.wal, "cpu_seconds": large.usage.cpu,
            "peak_rss_bytes": large.usage.peak, "uploaded_bytes": large.uploaded, "drain_seconds": large.drain,
            "restore_seconds": large.restore.0, "restore_peak_rss_bytes": large.restore.1.peak,
        })
    });
    (table, json)
}

/// 5 GiB where the disk has room for it, its image, what is restored and [`SPARE`]; else 2.
fn size(bench: &Bench) -> Result<u64> {
    let disk = nix::sys::statvfs::statvfs(bench.scratch()).context("the disk cannot be asked")?;
    let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
    let wanted = bench.sized(5 << 30, 40 << 20);
    if free > SPARE + wanted * 27 / 10 {
        return Ok(wanted);
    }
    eprintln!("{} are free: a database of 2 GiB instead of 5", mib(free as f64));
    ensure!(free > SPARE + (2 << 30) * 27 / 10, "not even that fits beside what has to stay free");
    Ok(2 << 30)
}

fn run_large(bench: &Bench) -> Result<Large> {
    let place = bench.place()?;
    let db = place.path().join("app.db");
    crate::dataset::fill(&mut Connection::open(&db)?, size(bench)?)?;
    pacer::prepare(&db)?;
    nix::unistd::sync();
    let alone = Pacer::run(&db, BESIDE, time(bench))?;

    let server = server(place.path(), "store")?;
    let (during, grown) = (Pacer::start(&db, BESIDE), Grown::watch(wal(&db)));
    thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let mut replicator = Replicator::start(bench, Tool::Streamer, &db, &server, &[])?;
    let image = begun.elapsed().as_secs_f64();
    let (during, wal) = (during.finish()?, grown.finish());
    let after = Pacer::run(&db, BESIDE, time(bench))?;
    replicator.must_run()?;
    let begun = Instant::now();
    let usage = replicator.stop()?;
    let drain = begun.elapsed().as_secs_f64();
    let uploaded = server.counts().bytes_in;
    let restore = come_back(&db, &server, place.path())?;
    let bytes = std::fs::metadata(&db)?.len();
    Ok(Large { bytes, alone, during, image, wal, after, usage, uploaded, drain, restore })
}
