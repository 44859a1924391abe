//! `config-syncer`: snapshots of directories of configuration. Wiring only.

mod check;
mod cli;
mod export;
mod import;
mod observe;
mod prune;
mod show;
mod snapshot;
mod trees;
mod watch;

use clap::{CommandFactory, Parser};
use cli::{Cli, Verb};
use door::{Failure, exit_of};
use file_replica::Error;
use std::process::ExitCode;
use telemetry::Exit;

/// Reading and packing happen beside the one thread that waits for the store, a few at a time: a sidecar's memory is counted (P7).
const THREADS: usize = 8;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::Paper(paper) = &cli.verb {
        return paper.run(Cli::command()).into();
    }
    door::start_bounded("config-syncer", cli.logs, THREADS, || async {
        let done = match cli.verb {
            Verb::Watch(args) => watch::run(args).await,
            Verb::Snapshot(args) => snapshot::run(args).await,
            Verb::Status(args) => show::status(args).await,
            Verb::List(args) => show::list(args).await,
            Verb::Diff(args) => show::diff(args).await,
            Verb::Export(args) => export::run(args).await,
            Verb::Import(args) => import::run(args).await,
            Verb::Prune(args) => prune::run(args).await,
            Verb::Check(args) => check::run(args).await,
            Verb::Paper(_) => unreachable!("handled before a runtime exists"),
        };
        done.map_err(|error| Failure::new(exit_of_any(&error), line(&error)))
    })
}

/// What was tried and why it failed, one after the other; a cause that a message names already is not said twice.
fn line(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |line, cause| match cause.to_string() {
        cause if line.is_empty() => cause,
        cause if line.ends_with(&cause) => line,
        cause => format!("{line}: {cause}"),
    })
}

/// Errors of the room have their class; everything else is about the command line or the description.
fn exit_of_any(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<Error>() {
        Some(error) => exit_of(error.class()),
        None => match error.downcast_ref::<store::Error>() {
            Some(error) if error.is_retriable() => Exit::Failed,
            _ => Exit::Usage,
        },
    }
}
