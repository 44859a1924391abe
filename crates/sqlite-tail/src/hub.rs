//! One watcher for every tail of the process, through `notify`.
//!
//! inotify instances are limited per user (128 by default) and each `notify` watcher has a thread: hundreds of databases
//! share one of both. Its thread only raises a flag of the tail concerned.
//!
//! An event for a tail that has not even seen the last one is no news ([`Lull`]). A queue that overflows touches every tail.

use crate::lull::Lull;
use crate::signal::Signal;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// The most that an event of another tail is late by.
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
    lull: Arc<Lull>,
}

impl Hub {
    fn shared() -> notify::Result<Arc<Hub>> {
        let mut shared = locked(&HUB);
        if let Some(hub) = shared.upgrade() {
            return Ok(hub);
        }
        let signals = Arc::<Signals>::default();
        let lull = Arc::new(Lull::new(PAUSE));
        let (heard, lulled) = (Arc::clone(&signals), Arc::clone(&lull));
        let watcher = notify::recommended_watcher(move |event| hear(&heard, event, &lulled))?;
        let hub = Arc::new(Hub { watcher: Mutex::new(watcher), signals, lull });
        *shared = Arc::downgrade(&hub);
        Ok(hub)
    }

    fn with<T>(&self, call: impl FnOnce(&mut RecommendedWatcher) -> T) -> T {
        self.lull.hurry(|| call(&mut locked(&self.watcher)))
    }
}

fn hear(signals: &Signals, event: notify::Result<Event>, lull: &Lull) {
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
    lull.heard(news);
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
            watched.hub.with(|watcher| watcher.watch(path, RecursiveMode::NonRecursive))?;
        }
        Ok(watched)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for path in &self.paths {
            locked(&self.hub.signals).remove(path);
            // Fails if the file is gone, and its watch with it.
            let _ = self.hub.with(|watcher| watcher.unwatch(path));
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("paths", &self.paths).finish_non_exhaustive()
    }
}
