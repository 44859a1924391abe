//! Benchmarks of the SQLite replica: what it costs the application, how soon a commit is safe, how fast it comes back.
//!
//! `benches sqlite [--large] [--only SECTION]` runs the real binaries beside the application of `testkit`, against its S3
//! server, and the same for Litestream where it is found. Every number is measured in this one run, nothing is
//! estimated, and what could not be measured says why. Prints markdown tables; all numbers go to
//! `target/bench/sqlite.json`. `HIGHWATER_BENCH_QUICK=1` shrinks everything: a test of the program, not a measurement.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod app;
mod arrivals;
mod bench;
mod cost;
mod dataset;
mod latency;
mod limit;
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

const USAGE: &str = "usage: benches sqlite [--large] [--only throughput|latency|cost|restore|requests]...";

/// A section's name, and what measures it.
type Measure = (&'static str, fn(&Bench) -> Section);

const SECTIONS: [Measure; 5] = [
    ("throughput", throughput::measure),
    ("latency", latency::measure),
    ("cost", cost::measure),
    ("restore", restore::measure),
    ("requests", requests::measure),
];

fn main() -> Result<()> {
    let (large, only) = arguments()?;
    let started = Instant::now();
    let bench = Bench::new(large)?;
    let machine = machine::describe(&bench)?;
    println!("# SQLite replica\n\n{}\n", machine.text);
    let mut numbers = json!({ "machine": machine.json, "large": large, "quick": bench.quick });
    for (name, measure) in
        SECTIONS.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name))
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
    let path = bench.output.join("sqlite.json");
    fs::write(&path, serde_json::to_string_pretty(&numbers)?).with_context(|| path.display().to_string())?;
    println!("Took {seconds:.0} s; all numbers are in `target/bench/sqlite.json`.");
    Ok(())
}

fn arguments() -> Result<(bool, Vec<String>)> {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some("sqlite") {
        bail!(USAGE);
    }
    let (mut large, mut only) = (false, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--large" => large = true,
            "--only" => {
                let name = arguments.next().context(USAGE)?;
                if !SECTIONS.iter().any(|(known, _)| *known == name) {
                    bail!(USAGE);
                }
                only.push(name);
            }
            _ => bail!(USAGE),
        }
    }
    Ok((large, only))
}
