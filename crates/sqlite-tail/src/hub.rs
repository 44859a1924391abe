//! One watcher for every tail of the process, through `notify`.
//!
//! inotify instances are limited per user (128 by default) and each `notify` watcher has a thread: hundreds of databases
//! share one of both. Its thread only raises a flag of the tail concerned.
//!
//! A busy writer makes tens of thousands of events a second, and whoever reads each as it comes takes a core from it.
//! An event for a tail that has not even seen the last one is no news, so the thread then pauses now and then; the
//! kernel merges equal events that nobody has read. A queue that overflows nevertheless touches every tail.

use crate::signal::Signal;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// After so many events that were no news, the thread pauses.
const STALE_EVENTS: u32 = 4;
/// For how long: the most that an event of another tail is late by.
const PAUSE: Duration = Duration::from_millis(2);

static HUB: Mutex<Weak<Hub>> = Mutex::new(Weak::new());

type Signals = Mutex<HashMap<PathBuf, Arc<Signal>>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watcher, as long as any tail is watched.
struct Hub {
    watcher: Mutex<RecommendedWatcher>,
    signals: Arc<Signals>,
}

impl Hub {
    fn shared() -> notify::Result<Arc<Hub>> {
        let mut shared = locked(&HUB);
        if let Some(hub) = shared.upgrade() {
            return Ok(hub);
        }
        let signals = Arc::<Signals>::default();
        let (heard, mut stale) = (Arc::clone(&signals), 0);
        let watcher = notify::recommended_watcher(move |event| hear(&heard, event, &mut stale))?;
        let hub = Arc::new(Hub { watcher: Mutex::new(watcher), signals });
        *shared = Arc::downgrade(&hub);
        Ok(hub)
    }
}

fn hear(signals: &Signals, event: notify::Result<Event>, stale: &mut u32) {
    let news = match &event {
        // Our own opening and reading.
        Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
        Ok(event) if !event.need_rescan() => {
            let signals = locked(signals);
            let touched = event.paths.iter().filter_map(|path| signals.get(path));
            touched.fold(false, |news, signal| signal.touch() | news)
        }
        // Something was missed: everybody looks.
        Ok(_) | Err(_) => locked(signals).values().fold(false, |news, signal| signal.touch() | news),
    };
    *stale = if news { 0 } else { *stale + 1 };
    if *stale >= STALE_EVENTS {
        *stale = 0;
        std::thread::sleep(PAUSE);
    }
}

/// Files whose writes touch a signal, until dropped.
pub(crate) struct Watched {
    hub: Arc<Hub>,
    paths: Vec<PathBuf>,
}

impl Watched {
    pub(crate) fn new(paths: &[&Path], signal: &Arc<Signal>) -> notify::Result<Self> {
        let mut watched = Self { hub: Hub::shared()?, paths: Vec::with_capacity(paths.len()) };
        for path in paths {
            locked(&watched.hub.signals).insert(path.to_path_buf(), Arc::clone(signal));
            watched.paths.push(path.to_path_buf());
            // Not under the lock of the signals, which the watcher's thread takes.
            locked(&watched.hub.watcher).watch(path, RecursiveMode::NonRecursive)?;
        }
        Ok(watched)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for path in &self.paths {
            locked(&self.hub.signals).remove(path);
            // Fails if the file is gone, and its watch with it.
            let _ = locked(&self.hub.watcher).unwatch(path);
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("paths", &self.paths).finish_non_exhaustive()
    }
}
