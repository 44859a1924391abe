//! What a person does in a checkout: see it work, run everything, measure.
//!
//! `cargo xtask demo` · `cargo xtask test [--full]` · `cargo xtask bench sqlite|files|etcd` · `cargo xtask dist` · `cargo xtask images` · `cargo xtask e2e` ·
//! `cargo xtask manifests [--check]`

#![allow(clippy::disallowed_methods, reason = "a task runner measures real time")]

mod bench;
mod demo;
mod dist;
mod e2e;
mod images;
mod manifests;
mod planted;
mod sim;
mod suite;
mod tools;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Watch a database die and come back
    Demo {
        /// Use a copy of this database instead of the built-in application; it is only read
        #[arg(long, value_name = "PATH")]
        db: Option<PathBuf>,
    },
    /// Run everything: format, lints, unit, property and end-to-end tests, interoperability
    Test {
        /// Add the long runs and the tests against MinIO, Garage and the litestream command
        #[arg(long)]
        full: bool,
    },
    /// Print tables of measurements
    Bench {
        /// What to measure: sqlite, files or etcd
        #[arg(default_value = "sqlite")]
        what: String,
        /// Also measure with databases of 1 and 2.6 GiB, or 50,000 files
        #[arg(long)]
        large: bool,
        /// Of the trees of files only one of so many
        #[arg(long, value_name = "N")]
        files: Option<u32>,
        /// How often a restore of files is measured; the median is shown
        #[arg(long, value_name = "N")]
        runs: Option<u32>,
        /// Only this: throughput, latency, cost, restore or requests; of files backup, sidecar, idle or restore; of etcd snapshot, drill or keys; may be repeated
        #[arg(long, value_name = "SECTION")]
        only: Vec<String>,
    },
    /// Simulate applications, streamers, crashes and a failing store: --seed N | --seeds A..B, --steps M
    #[command(disable_help_flag = true)]
    Sim {
        /// Passed on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Put known bugs into a scratch copy, one at a time, and have the simulator catch them
    Planted {
        /// Only this one
        #[arg(value_name = "NAME")]
        only: Option<String>,
        /// Seeds that may be needed
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// Steps per seed
        #[arg(long, default_value_t = 400)]
        steps: u64,
    },
    /// Build the small static binaries
    Dist {
        /// Also for arm64, cross-compiled
        #[arg(long)]
        arm64: bool,
    },
    /// Run rendered examples in containers, lose their volumes, and see them come back
    E2e {
        /// In the images that are shipped (`cargo xtask dist` first), not in those of a debug build
        #[arg(long)]
        shipped: bool,
        /// Against MinIO, built from its module, not against the embedded S3 server
        #[arg(long)]
        minio: bool,
    },
    /// Build the container images from the static binaries, and judge them
    Images,
    /// Generate, render and judge components, charts, examples, alerts and policies
    Manifests {
        /// Write nothing; what is out of date is a failure
        #[arg(long)]
        check: bool,
        /// Also build the Kyverno CLI (ten minutes, once)
        #[arg(long)]
        full: bool,
        /// Only lint these rendered manifests
        #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "check")]
        lint: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo { db } => demo::run(db),
        Task::Test { full } => suite::run(full),
        Task::Bench { what, large, files, runs, only } => bench::run(&what, large, files, runs, &only),
        Task::Sim { arguments } => sim::run(&arguments),
        Task::Planted { only, seeds, steps } => planted::run(only.as_deref(), seeds, steps),
        Task::Dist { arm64 } => dist::run(arm64).map(drop),
        Task::E2e { shipped, minio } => e2e::run(shipped, minio),
        Task::Images => images::build(),
        Task::Manifests { lint, .. } if !lint.is_empty() => manifests::lint_files(&lint),
        Task::Manifests { check, full, .. } => manifests::run(check, full),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
