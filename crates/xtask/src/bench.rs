//! `cargo xtask bench`: builds the benchmark optimised and runs it.

use anyhow::{Result, ensure};
use std::process::Command;

/// Runs the benchmark named `what`.
pub(crate) fn run(what: &str, large: bool, only: &[String]) -> Result<()> {
    ensure!(what == "sqlite", "there is a benchmark called sqlite, and none called {what:?}");
    crate::tools::run(Command::new("cargo").args([
        "build",
        "--release",
        "--bins",
        "-p",
        "wal-streamer",
        "-p",
        "restore",
        "-p",
        "testkit",
    ]))?;
    let mut bench = Command::new("cargo");
    bench.args(["run", "--release", "--quiet", "-p", "benches", "--", what]);
    if large {
        bench.arg("--large");
    }
    for section in only {
        bench.args(["--only", section]);
    }
    crate::tools::run(&mut bench)
}
