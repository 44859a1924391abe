//! Benchmarks of the replicas of databases and of files, and of etcd snapshots (`benches etcd`, see `etcd.rs`): what they cost, how soon a change is safe, how fast it comes back.
//!
//! `benches sqlite|files [--large] [--files N] [--runs N] [--only SECTION]` runs the real binaries against the S3 server of `testkit`, and beside them what
//! people use today, where it is found: Litestream; rclone and restic. Every number is measured in this one run, nothing is
//! estimated, and what could not be measured says why. Prints markdown tables; all numbers go to
//! `target/bench/sqlite.json` or `files.json`. `HIGHWATER_BENCH_QUICK=1` shrinks everything: a test of the program, not a measurement.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod app;
mod arrivals;
mod bench;
mod cost;
mod dataset;
mod etcd;
mod files;
mod latency;
mod limit;
mod load;
mod machine;
mod replicator;
mod requests;
mod restore;
mod sample;
mod section;
mod table;
mod throughput;
mod usage;
mod writer;

use anyhow::{Context, Result, bail};
use bench::Bench;
use section::Section;
use serde_json::json;
use std::env;
use std::fs;
use std::io::Write;
use std::time::Instant;

const USAGE: &str =
    "usage: benches sqlite [--large] [--only throughput|latency|cost|restore|requests|load]...
       benches files [--large] [--files N] [--runs N] [--only backup|sidecar|idle|restore]...
       benches etcd [--only snapshot|drill|keys]...";

/// A section's name, and what measures it.
type Measure = (&'static str, fn(&Bench) -> Section);

/// What can be measured.
struct Subject {
    name: &'static str,
    title: &'static str,
    sections: &'static [Measure],
}

static SUBJECTS: [Subject; 2] = [
    Subject { name: "sqlite", title: "SQLite replica", sections: &SQLITE },
    Subject { name: "files", title: "Replica of files", sections: &files::SECTIONS },
];

const SQLITE: [Measure; 6] = [
    ("throughput", throughput::measure),
    ("latency", latency::measure),
    ("cost", cost::measure),
    ("restore", restore::measure),
    ("requests", requests::measure),
    ("load", load::measure),
];

fn main() -> Result<()> {
    if env::args().nth(1).as_deref() == Some("etcd") {
        return etcd::run(env::args().skip(2));
    }
    let Arguments { subject, large, files, runs, only } = arguments()?;
    let started = Instant::now();
    let mut bench = Bench::new(large)?;
    bench.runs = runs;
    bench.files = files;
    let machine = machine::describe(&bench, (subject.name == "files").then(files::beside))?;
    println!("# {}\n\n{}\n", subject.title, machine.text);
    let mut numbers = json!({ "machine": machine.json, "large": large, "quick": bench.quick });
    for (name, measure) in
        subject.sections.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name))
    {
        eprintln!("measuring {name} ({:.0} s)", started.elapsed().as_secs_f64());
        let section = measure(&bench);
        for table in &section.tables {
            println!("{table}");
        }
        std::io::stdout().flush()?;
        numbers[name] = section.json;
    }
    let seconds = started.elapsed().as_secs_f64();
    numbers["seconds"] = json!(seconds);
    let path = bench.output.join(subject.name).with_extension("json");
    fs::write(&path, serde_json::to_string_pretty(&numbers)?).with_context(|| path.display().to_string())?;
    println!("Took {seconds:.0} s; all numbers are in `target/bench/{}.json`.", subject.name);
    Ok(())
}

struct Arguments {
    subject: &'static Subject,
    large: bool,
    files: Option<usize>,
    runs: usize,
    only: Vec<String>,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = env::args().skip(1);
    let wanted = arguments.next().context(USAGE)?;
    let subject = SUBJECTS.iter().find(|subject| subject.name == wanted).context(USAGE)?;
    let (mut large, mut files, mut runs, mut only) = (false, None, 1, Vec::new());
    let number = |text: Option<String>| text.and_then(|n| n.parse().ok()).filter(|n| *n > 0).context(USAGE);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--large" => large = true,
            "--runs" if subject.name == "files" => runs = number(arguments.next())?,
            "--files" if subject.name == "files" => files = Some(number(arguments.next())?),
            "--only" => {
                let name = arguments.next().context(USAGE)?;
                if !subject.sections.iter().any(|(known, _)| *known == name) {
                    bail!(USAGE);
                }
                only.push(name);
            }
            _ => bail!(USAGE),
        }
    }
    Ok(Arguments { subject, large, files, runs, only })
}
