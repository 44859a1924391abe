//! `cargo xtask sim`: runs seeds, prints the trace of one that fails.

use clap::Parser;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::process::ExitCode;

/// Simulates applications, streamers, crashes and a failing store from seeds.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Cli {
    /// One seed; its trace is printed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds from A to B, both included; only a failing one is printed
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<RangeInclusive<u64>>,
    /// Steps per seed
    #[arg(long, default_value_t = 1_000)]
    steps: u64,
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(from)?..=number(to)?)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let alone = cli.seed.is_some();
    let seeds = cli.seeds.unwrap_or_else(|| {
        let seed = cli.seed.unwrap_or(1);
        seed..=seed
    });
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut passed = 0;
    for seed in seeds {
        let outcome = sim::run(seed, cli.steps);
        for (what, times) in &outcome.counts {
            *counts.entry(what).or_default() += times;
        }
        if alone || outcome.failure.is_some() {
            outcome.trace.iter().for_each(|line| println!("{line}"));
        }
        if let Some(failure) = outcome.failure {
            println!("FAILED {failure}\nagain: cargo xtask sim --seed {seed} --steps {}", cli.steps);
            return ExitCode::FAILURE;
        }
        passed += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(what, times)| format!("{times} {what}")).collect();
    println!("{passed} seeds passed: {}", counts.join(", "));
    ExitCode::SUCCESS
}
