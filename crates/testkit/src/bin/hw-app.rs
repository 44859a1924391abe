//! The test application as a process of its own, so that it can be killed: see `testkit::app`.
//!
//! `hw-app --db PATH …` runs the workload; `hw-app verify PATH` proves a database and prints what it holds.

use std::path::Path;
use std::process::ExitCode;

use testkit::app;

const USAGE: &str =
    "usage: hw-app --db PATH [--writers N] [--readers N] [--transactions T (0: no end)] [--seconds S]
    [--seed S] [--rate R/s (0: no limit)] [--checkpoint auto|none|passive|full|restart|truncate]
    [--checkpoint-every N] [--sync normal|full] [--page-size N] [--auto-vacuum none|full|incremental]
    [--documents N] [--blob BYTES] [--ack-file PATH] [--rollback-one-in N (0: none)]
       hw-app verify PATH";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [verb, path] if verb == "verify" => app::verify(Path::new(path)).map(|report| report.to_string()),
        _ => app::AppArgs::parse(arguments).map_err(|error| format!("{error}\n{USAGE}")).and_then(|args| {
            let report = app::run(&args)?;
            Ok(format!(
                "committed={} last_seq={} busy={} rate={:.0} p50_us={} p99_us={} max_us={}",
                report.committed,
                report.last_seq,
                report.busy,
                report.rate(),
                report.latency(0.5).as_micros(),
                report.latency(0.99).as_micros(),
                report.latency(1.0).as_micros()
            ))
        }),
    };
    match outcome {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hw-app: {error}");
            ExitCode::FAILURE
        }
    }
}
