//! `wal-streamer`: streams the commits of SQLite databases to an object store. Wiring only.

mod access;
mod ask;
mod beside;
mod check;
mod cli;
mod control;
mod import;
mod memory;
mod observe;
mod pairs;
mod pod;
mod prune;
mod replicate;
mod serve;
mod stores;
mod upkeep;

use clap::{CommandFactory, Parser};
use cli::{Cli, Verb};
use std::process::ExitCode;

const PROGRAM: &str = "wal-streamer";

fn main() -> ExitCode {
    memory::few_heaps();
    let Cli { logs, verb } = Cli::parse();
    if let Verb::Paper(paper) = verb {
        return paper.run(Cli::command()).into();
    }
    door::start(PROGRAM, logs, || async {
        match verb {
            Verb::Replicate(args) => replicate::run(*args).await,
            Verb::Sync(args) => ask::sync(args),
            Verb::Status(args) => ask::status(args),
            Verb::Snapshot(args) => ask::snapshot(args),
            Verb::Prune(args) => prune::run(args).await,
            Verb::Check(args) => check::run(args).await,
            Verb::ImportConfig(args) => import::run(args),
            Verb::Paper(_) => unreachable!("handled above"),
        }
    })
}
