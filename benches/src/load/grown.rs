//! How large a file gets while something runs: looked at every 20 ms, by its directory entry only (opening and closing a database's file
//! would drop the locks of this process).

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Grown {
    largest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Grown {
    pub(crate) fn watch(path: PathBuf) -> Grown {
        let (largest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (largest.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                seen.fetch_max(fs::metadata(&path).map_or(0, |meta| meta.len()), Ordering::SeqCst);
                thread::sleep(STEP);
            }
        });
        Grown { largest, stop, thread }
    }

    /// Bytes at most.
    pub(crate) fn finish(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.join();
        self.largest.load(Ordering::SeqCst)
    }
}
