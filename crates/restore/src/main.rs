//! `restore`: brings data back from a replica; the init container, and the command an operator types by hand. Wiring only.

mod cli;
mod confirm;
mod drill;
mod etcd;
mod files;
mod follow;
mod init;
mod list;
mod progress;
mod sqlite;
mod unlock;
mod values;
mod verify;

use clap::{CommandFactory, Parser};
use cli::{Cli, Verb};
use door::{Failure, exit_of_sqlite};
use std::process::ExitCode;
use telemetry::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::Paper(paper) = &cli.verb {
        return paper.run(Cli::command()).into();
    }
    door::start("restore", cli.logs, || run(cli.verb))
}

async fn run(verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Init(args) => init::run(args).await,
        Verb::Sqlite(args) => sqlite::run(args).await.map_err(failure),
        Verb::Files(args) => files::run(args).await.map_err(|e| Failure::new(files::exit_of(&e), e)),
        Verb::Etcd(args) => etcd::run(args).await,
        Verb::List(args) => list::run(args).await.map_err(failure),
        Verb::Verify(args) => verify::run(args).await.map_err(failure),
        Verb::Drill(args) => drill::run(args).await.map_err(failure),
        Verb::Unlock(args) => unlock::run(args).await.map_err(failure),
        Verb::Paper(_) => unreachable!("handled before a runtime exists"),
    }
}

fn failure(error: sqlite_replica::Error) -> Failure {
    Failure::new(exit_of_sqlite(error.class()), error)
}
