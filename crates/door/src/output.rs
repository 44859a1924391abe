//! `-o text|json`: a table for a person, one document for a script.

use clap::ValueEnum;
use serde::Serialize;
use std::io::{Write, stdout};

/// How a verb prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for a person.
    Text,
    /// One JSON document.
    Json,
}

/// Prints `document` as JSON, or what `text` makes of it. A reader that went away (`| head`) is no error.
pub fn print<T: Serialize>(output: Output, document: &T, text: impl FnOnce(&T) -> String) {
    let shown = match output {
        Output::Text => text(document),
        Output::Json => serde_json::to_string_pretty(document).expect("documents are plain data"),
    };
    let mut out = stdout().lock();
    let newline = if shown.is_empty() || shown.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{shown}{newline}").and_then(|()| out.flush());
}
