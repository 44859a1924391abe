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

use clap::Parser;
use cli::{Cli, Verb};
use file_replica::{Class, Error};
use std::process::ExitCode;
use telemetry::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::Completions { shell } = cli.verb {
        cli::completions(shell);
        return Exit::Done.into();
    }
    if let Err(error) = telemetry::log::init(cli.log_format) {
        eprintln!("config-syncer: {error}");
        return Exit::Usage.into();
    }
    // One thread: a sidecar's memory is counted. Reading and packing happen beside it, one thread at a time.
    let built = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("config-syncer: cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    let done = runtime.block_on(async {
        match cli.verb {
            Verb::Watch(args) => watch::run(args).await,
            Verb::Snapshot(args) => snapshot::run(args).await,
            Verb::Status(args) => show::status(args).await,
            Verb::List(args) => show::list(args).await,
            Verb::Diff(args) => show::diff(args).await,
            Verb::Export(args) => export::run(args).await,
            Verb::Import(args) => import::run(args).await,
            Verb::Prune(args) => prune::run(args).await,
            Verb::Check(args) => check::run(args).await,
            Verb::Completions { .. } => unreachable!("handled above"),
        }
    });
    runtime.shutdown_background();
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("config-syncer: {error:#}");
            exit_of_any(&error).into()
        }
    }
}

/// Errors of the room have their class; everything else is about the command line or the description.
fn exit_of_any(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<Error>() {
        Some(error) => exit_of(error),
        None => match error.downcast_ref::<store::Error>() {
            Some(error) if error.is_retriable() => Exit::Failed,
            _ => Exit::Usage,
        },
    }
}

fn exit_of(error: &Error) -> Exit {
    match error.class() {
        Class::Retriable => Exit::Failed,
        Class::Usage => Exit::Usage,
        Class::Refused => Exit::Refused,
        Class::Damaged => Exit::Damaged,
        Class::Fenced => Exit::Fenced,
    }
}
