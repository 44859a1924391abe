//! `etcd-shipper`: snapshots of etcd that are proven, sealed, kept by rule and drilled. Wiring only.

mod cli;
mod destination;
mod diagnose;
mod drill;
mod gateway;
mod list;
mod metrics;
mod prune;
mod serve;
mod ship;
mod sources;
mod verify;

use clap::{CommandFactory, Parser};
use cli::{Cli, Verb};
use door::Failure;
use etcd_replica::Error;
use std::process::ExitCode;
use telemetry::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::Paper(paper) = &cli.verb {
        return paper.run(Cli::command()).into();
    }
    door::start("etcd-shipper", cli.logs, || async {
        match cli.verb {
            Verb::Ship(args) => ship::run(args).await,
            Verb::List(args) => list::run(args).await,
            Verb::Verify(args) => verify::run(args).await,
            Verb::Prune(args) => prune::run(args).await,
            Verb::Drill(args) => drill::run(args).await,
            Verb::Serve(args) => serve::run(args).await,
            Verb::Doctor(args) => diagnose::run(args).await,
            Verb::Paper(_) => unreachable!("handled above"),
        }
    })
}

pub(crate) fn exit_of(error: &Error) -> Exit {
    door::exit_of(error.class())
}

pub(crate) fn failed(error: Error) -> Failure {
    Failure::new(exit_of(&error), error)
}
