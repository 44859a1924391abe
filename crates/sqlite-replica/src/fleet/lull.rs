//! Pauses of the thread that hears what the file system says.
//!
//! A busy writer makes tens of thousands of events a second, and whoever reads each as it comes takes a core from it. What is
//! no news therefore has the thread pause now and then; the kernel merges equal events that nobody has read.
//!
//! The same thread carries out `watch` and `unwatch`, and only when it has read all there is: beside a writer that is faster than the pauses
//! that would be never. So there are no pauses while somebody waits for it.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// After so many events that were no news, the thread pauses.
const STALE_EVENTS: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Lull {
    pause: Duration,
    stale: AtomicU32,
    waiting: AtomicUsize,
}

impl Lull {
    /// `pause`: how long; the most that news after it is late by.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause, stale: AtomicU32::new(0), waiting: AtomicUsize::new(0) }
    }

    /// To be called for each event by the thread that hears them, with no lock held.
    pub(crate) fn heard(&self, news: bool) {
        if news {
            self.stale.store(0, Ordering::Relaxed);
            return;
        }
        let stale = self.stale.fetch_add(1, Ordering::Relaxed) + 1;
        if stale >= STALE_EVENTS && self.waiting.load(Ordering::Relaxed) == 0 {
            self.stale.store(0, Ordering::Relaxed);
            std::thread::sleep(self.pause);
        }
    }

    /// Makes a call that waits for that thread.
    pub(crate) fn hurry<T>(&self, call: impl FnOnce() -> T) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let done = call();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        done
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test measures real time")]
mod tests {
    use super::*;
    use notify::{RecursiveMode, Watcher};
    use std::fs::File;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    /// P7: nobody waits for a writer to pause. Two files in turn, so that the kernel has nothing to merge.
    #[test]
    fn p7_watching_waits_for_no_writer() {
        let dir = tempfile::tempdir().unwrap();
        let lull = Arc::new(Lull::new(Duration::from_millis(5)));
        let hearing = Arc::clone(&lull);
        let mut watcher = notify::recommended_watcher(move |_| hearing.heard(false)).unwrap();
        watcher.watch(dir.path(), RecursiveMode::NonRecursive).unwrap();
        let over = AtomicBool::new(false);
        let longest = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut files = ["a", "b"].map(|name| File::create(dir.path().join(name)).unwrap());
                let began = Instant::now();
                while !over.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(30) {
                    files.iter_mut().for_each(|file| file.write_all(b"x").unwrap());
                }
            });
            std::thread::sleep(Duration::from_millis(200));
            let mut longest = Duration::ZERO;
            for name in 0..10 {
                let other = dir.path().join(format!("other-{name}"));
                std::fs::create_dir(&other).unwrap();
                let began = Instant::now();
                lull.hurry(|| watcher.watch(&other, RecursiveMode::NonRecursive)).unwrap();
                lull.hurry(|| watcher.unwatch(&other)).unwrap();
                longest = longest.max(began.elapsed());
            }
            over.store(true, Ordering::Relaxed);
            longest
        });
        assert!(longest < Duration::from_secs(10), "{longest:?}");
    }
}
