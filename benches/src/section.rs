//! The result of one section: tables for people, numbers for programs; and failures that do not stop the run.

use crate::table::Table;
use anyhow::Result;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// See the module.
pub(crate) struct Section {
    pub(crate) tables: Vec<Table>,
    pub(crate) json: Value,
}

/// A measurement, or why there is none.
pub(crate) type Measured<T> = Result<T, String>;

/// Runs one measurement. The test bench reports some failures by panicking; those are failures like any other here.
pub(crate) fn attempt<T>(measure: impl FnOnce() -> Result<T>) -> Measured<T> {
    match catch_unwind(AssertUnwindSafe(measure)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(one_line(&format!("{error:#}"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(one_line(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panicked")))
        }
    }
}

/// What a table cell can show.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
    words.chars().take(300).collect()
}

/// The cells of one measurement; instead of them `failed: reason` and dashes.
pub(crate) fn cells<T, const N: usize>(
    measured: &Measured<T>,
    show: impl FnOnce(&T) -> [String; N],
) -> [String; N] {
    let text = match measured {
        Ok(value) => return show(value),
        Err(reason) if reason == MISSING => MISSING.to_owned(),
        Err(reason) => format!("failed: {reason}"),
    };
    let mut row = std::array::from_fn(|_| "–".to_owned());
    row[0] = text;
    row
}

/// As a number or an error for the JSON file.
pub(crate) fn number<T>(measured: &Measured<T>, show: impl FnOnce(&T) -> Value) -> Value {
    match measured {
        Ok(value) => show(value),
        Err(reason) => serde_json::json!({ "failed": reason }),
    }
}

/// In place of a measurement of a program that is not there.
pub(crate) const MISSING: &str = "missing";
