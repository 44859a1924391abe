//! On what and with what was measured: without it no number can be compared with another.

use crate::bench::Bench;
use crate::sample::{Sample, ms};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::thread;
use std::time::Instant;

const SYNCS: usize = 50;

/// The lines above all tables.
pub(crate) struct Machine {
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// `beside` is what is compared with; Litestream if nothing is said.
pub(crate) fn describe(bench: &Bench, beside: Option<String>) -> Result<Machine> {
    let cores = thread::available_parallelism()?.get();
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
    let memory_kib: u64 = memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let fsync = fsync(bench)?;
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let dirty = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    let revision = if dirty { format!("{revision} with local changes") } else { revision };
    let litestream = bench.litestream.as_ref().and_then(|program| text(Command::new(program).arg("version")));
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let beside = beside.unwrap_or_else(|| match &litestream {
        Some(version) => format!("Litestream {}", version.trim_start_matches('v')),
        None => {
            "Litestream was not found (HIGHWATER_LITESTREAM_NEW names one), its columns are missing".into()
        }
    });
    let text = format!(
        "{cores} cores ({cpu}), {} GiB of memory, Linux {kernel}, load {load} before, 4 KiB write + fdatasync: median {}, p99 {}.\n\
         Revision {revision}, {profile} build; {beside}.\n\
         Store: the S3 server of the test bench on loopback, in the benchmark's process, which shares the cores. \
         All numbers and ratios come from this one run.",
        memory_kib >> 20,
        ms(fsync.median()),
        ms(fsync.p99()),
    );
    let json = json!({
        "cores": cores, "cpu": cpu, "memory_kib": memory_kib, "kernel": kernel, "load_before": load,
        "fsync_seconds": fsync.json(), "revision": revision, "profile": profile, "litestream": litestream,
    });
    Ok(Machine { text, json })
}

/// Seconds that 4 KiB take to become durable where the databases lie.
fn fsync(bench: &Bench) -> Result<Sample> {
    let file = File::create(bench.scratch().join("fsync"))?;
    let mut seconds = Vec::new();
    for at in 0..SYNCS {
        let started = Instant::now();
        file.write_all_at(&[at as u8; 4096], at as u64 * 4096)?;
        file.sync_data()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    Sample::of(seconds).context("no fsync was measured")
}

/// The text after `name:` in a file of such lines.
fn line_of(path: &str, name: &str) -> Option<String> {
    let file = fs::read_to_string(path).ok()?;
    let line = file.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    text(Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")))
}

fn text(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
