//! `restore`: brings data back from a replica; the init container, and the command an operator types by hand. Wiring only.

mod cli;
mod confirm;
mod drill;
mod etcd;
mod files;
mod follow;
mod identity;
mod init;
mod kind;
mod list;
mod progress;
mod sqlite;
mod unlock;
mod values;
mod verify;

use clap::{CommandFactory, Parser};
use cli::{Cli, Verb};
use door::{Failure, exit_of};
use kind::Replica;
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
        Verb::Sqlite(args) => {
            let identities = identity::named(args.identity.as_deref())?;
            sqlite::run(args, identities).await.map_err(failure)
        }
        Verb::Files(args) => files::run(args).await.map_err(of_files),
        Verb::Etcd(args) => etcd::run(args).await,
        Verb::List(args) => match kind::of(&args.url, args.cluster.as_deref()).await? {
            Replica::Etcd(store) => etcd::list::run(&args, &store).await,
            Replica::Files(store) => files::list::run(&store, args.output).await.map_err(of_files),
            Replica::Database => list::run(args).await.map_err(failure),
        },
        Verb::Verify(args) => match kind::of(&args.url, args.cluster.as_deref()).await? {
            Replica::Etcd(store) => etcd::verify::run(&args, &store).await,
            Replica::Files(store) => files::verify::run(&args, &store).await.map_err(of_files),
            Replica::Database => {
                let identities = identity::named(args.identity.as_deref())?;
                verify::run(args, identities).await.map_err(failure)
            }
        },
        Verb::Drill(args) => match kind::of(&args.url, args.cluster.as_deref()).await? {
            Replica::Etcd(store) => etcd::drill::run(&args, &store).await,
            Replica::Files(store) => files::drill::run(&args, &store).await.map_err(of_files),
            Replica::Database => {
                let identities = identity::named(args.identity.as_deref())?;
                drill::run(args, identities).await.map_err(failure)
            }
        },
        Verb::Unlock(args) => {
            let replica = kind::of(&args.url, None).await?;
            if matches!(replica, Replica::Etcd(_)) {
                return Err(etcd::unlock::refused(&args.url));
            }
            unlock::confirmed(&args)?;
            match replica {
                Replica::Etcd(_) => unreachable!("refused above"),
                Replica::Files(store) => files::unlock::run(&args, &store).await.map_err(of_files),
                Replica::Database => unlock::run(args).await.map_err(failure),
            }
        }
        Verb::Paper(_) => unreachable!("handled before a runtime exists"),
    }
}

fn failure(error: sqlite_replica::Error) -> Failure {
    Failure::new(exit_of(error.class()), error)
}

fn of_files(error: file_replica::Error) -> Failure {
    Failure::new(exit_of(error.class()), error)
}
