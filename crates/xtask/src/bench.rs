//! `cargo xtask bench`: builds the benchmark optimised and runs it.

use crate::tools::install;
use anyhow::{Result, ensure};
use std::process::Command;

/// Runs the benchmark named `what`.
pub(crate) fn run(
    what: &str,
    large: bool,
    files: Option<u32>,
    runs: Option<u32>,
    only: &[String],
) -> Result<()> {
    ensure!(
        ["sqlite", "files", "etcd"].contains(&what),
        "there are the benchmarks sqlite, files and etcd, and none called {what:?}"
    );
    if what == "files" {
        install(&[("rclone", "rclone"), ("restic", "restic")]);
    }
    if what == "etcd" {
        install(&[
            ("etcd", "etcd-server"),
            ("etcdctl", "etcd-client"),
            ("zstd", "zstd"),
            ("age", "age"),
            ("rclone", "rclone"),
        ]);
    }
    crate::tools::run(Command::new("cargo").args([
        "build",
        "--release",
        "--bins",
        "-p",
        "wal-streamer",
        "-p",
        "config-syncer",
        "-p",
        "restore",
        "-p",
        "etcd-shipper",
        "-p",
        "testkit",
    ]))?;
    let mut bench = Command::new("cargo");
    bench.args(["run", "--release", "--quiet", "-p", "benches", "--", what]);
    if large {
        bench.arg("--large");
    }
    if let Some(files) = files {
        bench.args(["--files", &files.to_string()]);
    }
    if let Some(runs) = runs {
        bench.args(["--runs", &runs.to_string()]);
    }
    for section in only {
        bench.args(["--only", section]);
    }
    crate::tools::run(&mut bench)
}
