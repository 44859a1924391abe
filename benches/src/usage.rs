//! What a process costs: processor time and memory, as the kernel counts them.
//!
//! Peak memory (`VmHWM`) is gone the moment a process ends, so it is read every few milliseconds; both values only grow,
//! so at most the last reading's distance is lost.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Ticks per second of `/proc/PID/stat`, part of the kernel's interface on all platforms we build for.
const USER_HZ: f64 = 100.0;

/// Between two readings.
const STEP: Duration = Duration::from_millis(3);

/// Readings of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu: f64,
    /// Resident bytes now.
    pub(crate) rss: u64,
    /// Resident bytes at most.
    pub(crate) peak: u64,
}

impl Usage {
    /// Of a process that runs; a zombie still has its time, but no memory.
    pub(crate) fn of(pid: u32) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold spaces; what follows it begins with field 3.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let (rss, peak) = (kib("VmRSS:").unwrap_or(0) << 10, kib("VmHWM:").unwrap_or(0) << 10);
        Some(Usage { cpu: (ticks(14)? + ticks(15)?) / USER_HZ, rss, peak })
    }
}

/// Reads a process until it ends or is told to stop, and ends one that takes too long.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Usage, bool)>,
}

impl Watch {
    pub(crate) fn start(pid: u32, limit: Duration) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let started = Instant::now();
            let (mut last, mut killed) = (Usage::default(), false);
            while !stopped.load(Ordering::SeqCst) {
                if let Some(now) = Usage::of(pid) {
                    let peak = last.peak.max(now.peak);
                    let rss = if now.rss > 0 { now.rss } else { last.rss };
                    last = Usage { cpu: last.cpu.max(now.cpu), rss, peak };
                }
                if !killed && started.elapsed() > limit {
                    killed = true;
                    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
                }
                thread::sleep(STEP);
            }
            (last, killed)
        });
        Watch { stop, thread }
    }

    /// The last readings, and whether the process was ended for being too slow.
    pub(crate) fn finish(self) -> (Usage, bool) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_default()
    }
}

/// A process that ran to its end.
pub(crate) struct Ran {
    pub(crate) seconds: f64,
    pub(crate) usage: Usage,
    pub(crate) stdout: String,
}

/// Runs a program to its end; an error when it fails or takes longer than `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let watch = Watch::start(child.id(), limit);
    let output = child.wait_with_output();
    let seconds = started.elapsed().as_secs_f64();
    let (usage, killed) = watch.finish();
    let output = output.with_context(|| name.clone())?;
    if killed {
        bail!("{name} took longer than {} s", limit.as_secs());
    }
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = stderr.lines().rev().take(2).collect();
        bail!("{name} ended with {}: {}", output.status, last.join(" / "));
    }
    Ok(Ran { seconds, usage, stdout: String::from_utf8_lossy(&output.stdout).into_owned() })
}
