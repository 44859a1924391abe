//! `restore`: brings data back from a replica; the command an operator types by hand. Wiring only.

mod cli;
mod list;
mod progress;
mod sqlite;

use clap::Parser;
use cli::{Cli, Verb};
use sqlite_replica::{Class, Error};
use std::process::ExitCode;
use telemetry::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::Completions { shell } = cli.verb {
        cli::completions(shell);
        return Exit::Done.into();
    }
    if let Err(error) = telemetry::log::init(cli.log_format) {
        eprintln!("restore: {error}");
        return Exit::Usage.into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("restore: cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    let done = runtime.block_on(async {
        match cli.verb {
            Verb::Sqlite(args) => sqlite::run(args).await,
            Verb::List(args) => list::run(args).await,
            Verb::Completions { .. } => unreachable!("handled above"),
        }
    });
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("restore: {error}");
            exit_of(&error).into()
        }
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
