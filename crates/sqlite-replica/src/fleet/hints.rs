//! Hints of the file system: something new in a directory, something written to a database without a writer.
//!
//! Hints are hints: a supervisor that gets none finds the same by looking, later. One `notify` watcher for all directories; the
//! writes of databases that have a writer anyway are no news ([`Lull`]).

use crate::fleet::lull::Lull;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The most that a hint is late by.
const PAUSE: Duration = Duration::from_millis(5);

/// What was heard since the last question.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Files came, went or were renamed.
    pub(crate) directories: bool,
    /// Members whose files were touched.
    pub(crate) members: BTreeSet<usize>,
    /// Something was missed.
    pub(crate) all: bool,
}

struct Shared {
    state: Mutex<State>,
    bell: Notify,
    lull: Lull,
}

#[derive(Default)]
struct State {
    heard: Heard,
    /// Whose file it is.
    files: HashMap<PathBuf, usize>,
}

/// See the module.
pub(crate) struct Hints {
    shared: Arc<Shared>,
    watcher: Option<RecommendedWatcher>,
    directories: HashSet<PathBuf>,
}

impl Hints {
    /// Watches nothing yet. Without inotify there are no hints.
    pub(crate) fn new() -> Hints {
        let shared = Shared { state: Mutex::default(), bell: Notify::new(), lull: Lull::new(PAUSE) };
        Hints { shared: Arc::new(shared), watcher: None, directories: HashSet::new() }
    }

    /// Watches exactly these directories from now on, as far as they exist. True if any is new: what happened there before is
    /// to be looked for.
    pub(crate) fn watch(&mut self, directories: HashSet<PathBuf>) -> bool {
        if directories == self.directories {
            return false;
        }
        if self.watcher.is_none() {
            let shared = self.shared.clone();
            self.watcher = notify::recommended_watcher(move |event| hear(&shared, event))
                .inspect_err(
                    |error| tracing::warn!(%error, "no hints from the file system, looking now and then"),
                )
                .ok();
        }
        let Some(watcher) = &mut self.watcher else { return false };
        let lull = &self.shared.lull;
        for gone in self.directories.difference(&directories) {
            // Fails if the directory is gone, and its watch with it.
            let _ = lull.hurry(|| watcher.unwatch(gone));
        }
        let mut watched = HashSet::with_capacity(directories.len());
        for directory in directories {
            let known = self.directories.contains(&directory);
            if known || lull.hurry(|| watcher.watch(&directory, RecursiveMode::NonRecursive)).is_ok() {
                watched.insert(directory);
            }
        }
        let new = watched.difference(&self.directories).next().is_some();
        self.directories = watched;
        new
    }

    /// Writes to this file are a hint for this member.
    pub(crate) fn listen(&self, file: &Path, member: usize) {
        self.shared.state().files.insert(file.to_owned(), member);
    }

    /// No more.
    pub(crate) fn forget(&self, file: &Path) {
        self.shared.state().files.remove(file);
    }

    /// What was heard since the last call.
    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut self.shared.state().heard)
    }

    /// Comes back when something was heard.
    pub(crate) async fn wait(&self) {
        self.shared.bell.notified().await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hear(shared: &Shared, event: notify::Result<Event>) {
    let news = {
        let mut state = shared.state();
        match &event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) if !event.need_rescan() => state.note(event),
            Ok(_) | Err(_) => !std::mem::replace(&mut state.heard.all, true),
        }
    };
    if news {
        shared.bell.notify_one();
    }
    shared.lull.heard(news);
}

impl State {
    /// Whether it is news.
    fn note(&mut self, event: &Event) -> bool {
        let touched = event.paths.iter().filter_map(|path| self.files.get(path).copied());
        let touched: Vec<usize> = touched.collect();
        let mut news = false;
        for member in touched {
            news |= self.heard.members.insert(member);
        }
        let moved = matches!(event.kind, EventKind::Create(_) | EventKind::Remove(_))
            || matches!(event.kind, EventKind::Modify(notify::event::ModifyKind::Name(_)));
        if moved {
            news |= !std::mem::replace(&mut self.heard.directories, true);
        }
        news
    }
}
