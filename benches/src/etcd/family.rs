//! The memory of a program and of what it starts: a drill runs etcd and its tools in its own container, so their memory is the container's.
//!
//! Resident memory holds pages of mapped files, which the kernel takes back when it needs them; what it cannot take back is the anonymous part, so
//! that is what a limit has to hold, of all of them at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Between two looks.
const STEP: Duration = Duration::from_millis(10);

/// The most of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Family {
    /// By the name of the program: resident and anonymous bytes.
    pub(super) members: BTreeMap<String, (u64, u64)>,
    /// Anonymous bytes of all at one time.
    pub(super) together: u64,
}

/// Runs something, and looks meanwhile at every child of ours of this name and at what it starts.
pub(super) fn watching<T>(name: &str, work: impl FnOnce() -> T) -> (T, Family) {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, name) = (stop.clone(), name.to_owned());
    let looking = thread::spawn(move || {
        let mut family = Family::default();
        while !stopped.load(Ordering::SeqCst) {
            family.look(&name);
            thread::sleep(STEP);
        }
        family
    });
    let done = work();
    stop.store(true, Ordering::SeqCst);
    (done, looking.join().unwrap_or_default())
}

struct Process {
    id: u32,
    parent: u32,
    name: String,
}

impl Family {
    fn look(&mut self, head: &str) {
        let all = processes();
        let me = std::process::id();
        let Some(head) = all.iter().find(|p| p.parent == me && p.name == head) else { return };
        let mut together = 0;
        for process in all.iter().filter(|p| p.id == head.id || p.parent == head.id) {
            let Some((resident, anonymous)) = memory(process.id) else { continue };
            together += anonymous;
            let most = self.members.entry(process.name.clone()).or_default();
            *most = (most.0.max(resident), most.1.max(anonymous));
        }
        self.together = self.together.max(together);
    }
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (before, rest) = stat.rsplit_once(')')?;
            let name = before.split_once('(')?.1.to_owned();
            Some(Process { id, parent: rest.split_whitespace().nth(1)?.parse().ok()?, name })
        })
        .collect()
}

/// Resident and anonymous bytes.
fn memory(id: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((kib("VmRSS:")? << 10, kib("RssAnon:")? << 10))
}
