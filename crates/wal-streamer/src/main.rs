//! `wal-streamer`: streams the commits of SQLite databases to an object store. Wiring only.

mod cli;
mod observe;
mod pairs;
mod replicate;
mod stores;

use clap::Parser;
use cli::{Cli, Verb};
use std::process::ExitCode;
use telemetry::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Verb::Completions { shell } = cli.verb {
        cli::completions(shell);
        return Exit::Done.into();
    }
    if let Err(error) = telemetry::log::init(cli.log_format) {
        eprintln!("wal-streamer: {error}");
        return Exit::Usage.into();
    }
    // One thread: a sidecar's memory is counted, and all waiting is on the store.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("wal-streamer: cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    let exit = match cli.verb {
        Verb::Replicate(args) => runtime.block_on(replicate::run(args)),
        Verb::Completions { .. } => unreachable!("handled above"),
    };
    // A blocking task may still hang on a dead disk; the exit code must not wait for it.
    runtime.shutdown_background();
    exit.into()
}
