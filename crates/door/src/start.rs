//! From `main` to the work and back to the shell.

use clap::Args;
use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use telemetry::{Exit, LogFormat};
use tokio::runtime::Builder;

/// How the process logs.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Logs {
    /// How log lines look [default: text on a terminal, json elsewhere]
    #[arg(long, global = true, value_name = "text|json")]
    pub log_format: Option<LogFormat>,
}

/// An end that is no success: what the shell sees and the line a person reads.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One line, lower case: what, where, hint.
    pub line: String,
}

impl Failure {
    /// An end with this code and line.
    pub fn new(exit: Exit, line: impl Display) -> Self {
        Self { exit, line: line.to_string() }
    }

    /// Wrong usage or configuration.
    pub fn usage(line: impl Display) -> Self {
        Self::new(Exit::Usage, line)
    }
}

/// Sets up logging and a runtime of one thread (a sidecar's memory is counted, and all waiting is on the store), runs the
/// work, prints a failure as `program: line`, and gives the exit code. Threads that hang on a dead disk are not waited for.
pub fn start<F>(program: &str, logs: Logs, work: impl FnOnce() -> F) -> ExitCode
where
    F: Future<Output = Result<Exit, Failure>>,
{
    run(program, logs, &mut Builder::new_current_thread(), work)
}

/// Like [`start`], with at most `threads` beside the one that waits: where reading, packing and sealing happen there, each
/// holds buffers, and memory has a bound (P7).
pub fn start_bounded<F>(program: &str, logs: Logs, threads: usize, work: impl FnOnce() -> F) -> ExitCode
where
    F: Future<Output = Result<Exit, Failure>>,
{
    run(program, logs, Builder::new_current_thread().max_blocking_threads(threads), work)
}

fn run<F>(program: &str, logs: Logs, runtime: &mut Builder, work: impl FnOnce() -> F) -> ExitCode
where
    F: Future<Output = Result<Exit, Failure>>,
{
    if let Err(error) = telemetry::log::init(logs.log_format) {
        eprintln!("{program}: {error}");
        return Exit::Usage.into();
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{program}: cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    let done = runtime.block_on(async { work().await });
    runtime.shutdown_background();
    let exit = done.unwrap_or_else(|failure| {
        eprintln!("{program}: {}", failure.line);
        failure.exit
    });
    crate::output::told(exit).into()
}
