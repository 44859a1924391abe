//! `-o text|json`: a table for a person, one document for a script.

use clap::ValueEnum;
use serde::Serialize;
use std::io::{ErrorKind, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use telemetry::Exit;

/// How a verb prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for a person.
    Text,
    /// One JSON document.
    Json,
}

/// Whether something could not be printed.
static UNTOLD: AtomicBool = AtomicBool::new(false);

/// Prints `document` as JSON, or what `text` makes of it. A reader that went away (`| head`) is no failure; behind `>` a full disk is one,
/// and makes a success end with 1.
pub fn print<T: Serialize>(output: Output, document: &T, text: impl FnOnce(&T) -> String) {
    let shown = match output {
        Output::Text => text(document),
        Output::Json => serde_json::to_string_pretty(document).expect("documents are plain data"),
    };
    let mut out = stdout().lock();
    let newline = if shown.is_empty() || shown.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{shown}{newline}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("cannot write to standard output: {error}");
            UNTOLD.store(true, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// The code to end with: a script that reads half a document must not take it for the whole.
pub(crate) fn told(exit: Exit) -> Exit {
    if exit == Exit::Done && UNTOLD.load(Ordering::Relaxed) { Exit::Failed } else { exit }
}
