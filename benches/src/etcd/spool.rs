//! How large the spool of a running program is: a file without a name that one of our children holds open.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

/// Runs something and looks for the largest unlinked file that any of our children holds open meanwhile: the spool has no name.
pub(super) fn spooling<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, largest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, found) = (stop.clone(), largest.clone());
    let looking = thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            found.fetch_max(unlinked().unwrap_or(0), Ordering::SeqCst);
            thread::sleep(STEP);
        }
    });
    let done = work();
    stop.store(true, Ordering::SeqCst);
    let _ = looking.join();
    (done, largest.load(Ordering::SeqCst))
}

fn unlinked() -> Option<u64> {
    let me = std::process::id();
    let is_child = |pid: &Path| {
        let stat = fs::read_to_string(pid.join("stat")).unwrap_or_default();
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok()) == Some(me)
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let children = processes.filter(|path| path.join("stat").is_file() && is_child(path));
    let open = children.filter_map(|pid| fs::read_dir(pid.join("fd")).ok()).flatten().flatten();
    open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().ends_with("(deleted)")))
        .filter_map(|fd| Some(fs::metadata(fd.path()).ok()?.len()))
        .max()
}
