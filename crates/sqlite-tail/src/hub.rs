//! One inotify instance for every tail of the process.
//!
//! Instances are limited per user (128 by default) and each has a thread: hundreds of databases share one of both. The thread only
//! raises a flag of the tail concerned. When all it has read is no news, since the tails have not even seen their last flags, it pauses:
//! the kernel merges equal events that nobody has read. A queue that overflows touches every tail.
//!
//! A watch is paid for by the application: some 0.7 µs of each of its writes to the file. It goes when [`Watched`] is
//! dropped, and that waits for nobody.

use crate::signal::Signal;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The most that an event of another tail is late by.
const PAUSE: Duration = Duration::from_millis(2);

/// Writes, and another file under the name.
const NEWS: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_DELETE_SELF);

/// Made by the first tail that watches, and kept.
static HUB: Mutex<Option<Arc<Hub>>> = Mutex::new(None);

type Signals = HashMap<WatchDescriptor, Arc<Signal>>;

struct Hub {
    inotify: Inotify,
    signals: Mutex<Signals>,
}

impl Hub {
    fn shared() -> io::Result<Arc<Hub>> {
        let mut shared = HUB.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = &*shared {
            return Ok(Arc::clone(hub));
        }
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let hub = Arc::new(Hub { inotify, signals: Mutex::default() });
        let hearing = Arc::clone(&hub);
        thread::Builder::new().name("inotify".into()).spawn(move || hearing.hear())?;
        *shared = Some(Arc::clone(&hub));
        Ok(hub)
    }

    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self) {
        loop {
            let events = self.inotify.read_events();
            let news = match &events {
                Err(Errno::EINTR) => continue,
                Ok(events) => {
                    let signals = self.signals();
                    events.iter().fold(false, |news, event| match event.mask {
                        // Something was missed: everybody looks.
                        mask if mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => all(&signals) | news,
                        _ => signals.get(&event.wd).is_some_and(|signal| signal.touch()) | news,
                    })
                }
                Err(_) => {
                    thread::sleep(PAUSE * 100);
                    all(&self.signals())
                }
            };
            if !news {
                thread::sleep(PAUSE);
            }
        }
    }
}

fn all(signals: &Signals) -> bool {
    signals.values().fold(false, |news, signal| signal.touch() | news)
}

/// Files whose writes touch a signal, until dropped.
pub(crate) struct Watched {
    hub: Arc<Hub>,
    signal: Arc<Signal>,
    descriptors: Vec<WatchDescriptor>,
}

impl Watched {
    pub(crate) fn new(paths: &[&Path], signal: &Arc<Signal>) -> io::Result<Self> {
        let mut watched = Self {
            hub: Hub::shared()?,
            signal: Arc::clone(signal),
            descriptors: Vec::with_capacity(paths.len()),
        };
        for path in paths {
            // Under the lock, so that no event of it comes before its signal is known.
            let mut signals = watched.hub.signals();
            let descriptor = watched.hub.inotify.add_watch(*path, NEWS)?;
            signals.insert(descriptor, Arc::clone(signal));
            drop(signals);
            watched.descriptors.push(descriptor);
        }
        Ok(watched)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut signals = self.hub.signals();
        for descriptor in &self.descriptors {
            // Another watch of the same file has the same descriptor.
            if signals.get(descriptor).is_some_and(|signal| Arc::ptr_eq(signal, &self.signal)) {
                signals.remove(descriptor);
                // Fails if the file is gone, and its watch with it.
                let _ = self.hub.inotify.rm_watch(*descriptor);
            }
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("descriptors", &self.descriptors).finish_non_exhaustive()
    }
}
