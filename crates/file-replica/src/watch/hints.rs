//! inotify as a source of hints, through `notify`.
//!
//! One watch per directory, added before the directory is listed, never through a link. Of an event only the fact counts; names of
//! removed directories are forgotten so that a new one in their place is watched again. An overflow, or a limit of the kernel, is
//! told to the driver: the first rebuilds everything, the second falls back to polling. The handler does next to nothing, so the
//! kernel's queue stays short. What SQLite writes to a database is told apart: it is left out anyway, and would never let the files beside
//! it go quiet.
//!
//! A renamed directory has one descriptor under both names, and with the old name `notify` lets go of it. So a name that is gone is taken
//! from `notify` too, and whatever may have been watched by its descriptor is watched anew: what is watched already costs a call.

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What the handler tells the driver.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) wake: Notify,
    pub(super) events: AtomicU64,
    pub(super) overflow: AtomicBool,
    /// Only databases were written to.
    pub(super) faint: AtomicBool,
    databases: Mutex<HashSet<PathBuf>>,
    removed: Mutex<Vec<PathBuf>>,
}

/// The watches of one tree.
pub(super) struct Hints {
    watcher: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, u64>,
    seen: Vec<PathBuf>,
    /// What is announced is watched again, whatever is known of it: in this look, and in the next.
    afresh: (bool, bool),
    news: Arc<News>,
    extra: PathBuf,
}

impl Hints {
    /// Watches nothing yet, except `extra`.
    pub(super) fn new(news: Arc<News>, extra: PathBuf) -> Hints {
        let (watched, seen, afresh) = (HashMap::new(), Vec::new(), (false, false));
        let mut hints = Hints { watcher: None, watched, seen, afresh, news, extra };
        hints.rebuild();
        hints
    }

    /// Whether events are to be expected.
    pub(super) fn works(&self) -> bool {
        self.watcher.is_some()
    }

    /// Drops every watch and begins anew; the next scan adds them.
    pub(super) fn rebuild(&mut self) {
        self.watched.clear();
        let news = self.news.clone();
        let config = Config::default().with_follow_symlinks(false);
        let made = RecommendedWatcher::new(move |event| take(&news, event), config);
        self.watcher = match made {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "no inotify instance: polling");
                None
            }
        };
        let extra = self.extra.clone();
        self.add(&extra);
    }

    /// A directory is about to be listed.
    pub(super) fn announce(&mut self, dir: &Path) {
        if self.seen.is_empty() {
            self.afresh = (self.afresh.1, false);
        }
        self.forget_removed();
        self.add(dir);
        if self.watcher.is_some() {
            self.seen.push(dir.to_owned());
        }
    }

    fn add(&mut self, dir: &Path) {
        if self.watcher.is_none() {
            return;
        }
        let Ok(ino) = std::fs::symlink_metadata(dir).map(|m| m.ino()) else { return };
        match self.watched.get(dir) {
            Some(known) if *known == ino && !self.afresh.0 => return,
            Some(known) if *known != ino => self.unwatch(dir),
            _ => {}
        }
        let Some(watcher) = &mut self.watcher else { return };
        match watcher.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => drop(self.watched.insert(dir.to_owned(), ino)),
            // Gone again, or not ours to read: the scan says so.
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
            Err(error) if is_limit(&error) => {
                tracing::warn!(%error, watches = self.watched.len(), "the kernel's limit of watches is reached: polling");
                self.watcher = None;
                self.watched.clear();
            }
            Err(error) => tracing::debug!(%error, dir = %dir.display(), "not watched"),
        }
    }

    /// A scan is over: what it did not meet is not watched any more (P7), and these are the databases it met.
    pub(super) fn scanned(&mut self, databases: &[PathBuf]) {
        *lock(&self.news.databases) = databases.iter().cloned().collect();
        let seen: HashSet<PathBuf> = self.seen.drain(..).collect();
        if seen.is_empty() {
            return;
        }
        let extra = self.extra.clone();
        let gone: Vec<PathBuf> =
            self.watched.keys().filter(|d| !seen.contains(*d) && **d != extra).cloned().collect();
        gone.iter().for_each(|dir| self.unwatch(dir));
    }

    fn forget_removed(&mut self) {
        let removed = std::mem::take(&mut *lock(&self.news.removed));
        for path in removed {
            let gone: Vec<PathBuf> = self.watched.keys().filter(|d| d.starts_with(&path)).cloned().collect();
            gone.iter().for_each(|dir| self.unwatch(dir));
        }
    }

    /// A name is given up, and with it perhaps the watch of another one that was announced before.
    fn unwatch(&mut self, dir: &Path) {
        self.watched.remove(dir);
        if let Some(watcher) = &mut self.watcher {
            // It may have noticed by itself.
            let _ = watcher.unwatch(dir);
        }
        self.afresh = (true, true);
    }
}

fn take(news: &News, event: notify::Result<notify::Event>) {
    match event {
        Ok(event) if event.need_rescan() => news.overflow.store(true, Ordering::Relaxed),
        Ok(event) => {
            let own = match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                // Our own reading of the tree.
                EventKind::Access(_) => true,
                _ => false,
            };
            if own {
                return;
            }
            let databases = lock(&news.databases);
            if !event.paths.is_empty() && event.paths.iter().all(|path| is_work(event.kind, path, &databases))
            {
                news.faint.store(true, Ordering::Relaxed);
                return;
            }
            drop(databases);
            if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
                let mut removed = lock(&news.removed);
                // Bounded: beyond this everything is looked at anew.
                if removed.len() < 4096 {
                    removed.extend(event.paths);
                } else {
                    news.overflow.store(true, Ordering::Relaxed);
                }
            }
        }
        Err(error) => {
            tracing::debug!(%error, "inotify");
            news.overflow.store(true, Ordering::Relaxed);
        }
    }
    news.events.fetch_add(1, Ordering::Relaxed);
    news.wake.notify_one();
}

/// Whether this is what SQLite does to a database all the time. Another file put in its place is none of it, nor is its end.
fn is_work(kind: EventKind, path: &Path, databases: &HashSet<PathBuf>) -> bool {
    let name = path.as_os_str().as_bytes();
    let base = crate::scan::base_of(name);
    let known = |name: &[u8]| databases.contains(Path::new(OsStr::from_bytes(name)));
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) => base.is_some_and(known),
        EventKind::Modify(ModifyKind::Name(_)) => false,
        _ => known(name) || base.is_some_and(known),
    }
}

fn is_limit(error: &notify::Error) -> bool {
    const ENOSPC: i32 = 28;
    const EMFILE: i32 = 24;
    match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(e) => matches!(e.raw_os_error(), Some(ENOSPC | EMFILE)),
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
