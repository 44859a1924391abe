//! What a tail waits for: writes to `-wal` (commits) and to the database (checkpoints of others), calls, and time.
//!
//! Events are hints, the wal-index is the truth (trap 1). A database that cannot be watched, or should not be, is polled.

use crate::hub::Watched;
use crate::pace;
use crate::signal::Signal;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often to look if inotify is not to be had.
const BLIND_POLL: Duration = Duration::from_millis(50);
/// How long before that is tried again: the kernel's limits are shared by all who watch.
const BLIND_NS: u64 = 60_000_000_000;

/// Why [`Watch::wait`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raised {
    /// A file moved.
    Touched,
    /// Another thread called.
    Called,
    /// Another thread ended it all.
    Stopped,
    /// The time is over.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Watch {
    files: [PathBuf; 2],
    watched: Option<Watched>,
    /// Nothing is to be told for now.
    closed: bool,
    opened_ns: u64,
    signal: Arc<Signal>,
}

impl Watch {
    pub(crate) fn new(wal: &Path, db: &Path, signal: Arc<Signal>, now_ns: u64) -> Self {
        let files = [wal.to_owned(), db.to_owned()];
        let mut watch = Self { files, watched: None, closed: true, opened_ns: 0, signal };
        watch.open(now_ns);
        watch
    }

    /// Writes end a wait from here on, if they can; those before are not told.
    pub(crate) fn open(&mut self, now_ns: u64) {
        let [wal, db] = &self.files;
        (self.closed, self.opened_ns) = (false, now_ns);
        self.watched = Watched::new(&[wal, db], &self.signal)
            .inspect_err(
                |error| tracing::debug!(%error, path = %db.display(), "cannot watch, polling instead"),
            )
            .ok();
    }

    /// Writes cost the application less, and end no wait: the caller polls.
    pub(crate) fn close(&mut self) {
        self.closed |= self.watched.take().is_some();
    }

    /// Whether to [`open`](Self::open) it: closed beside a writer that has paused since, or not to be had a minute ago.
    pub(crate) fn is_due(&self, is_busy: bool, now_ns: u64) -> bool {
        match self.closed {
            true => !is_busy,
            false => self.watched.is_none() && now_ns.saturating_sub(self.opened_ns) >= BLIND_NS,
        }
    }

    /// How often the caller has to look by himself.
    pub(crate) fn poll(&self) -> Option<Duration> {
        match self.watched {
            Some(_) => None,
            None if self.closed => Some(pace::POLL),
            None => Some(BLIND_POLL),
        }
    }

    /// Forgets the touches so far: the caller is about to look.
    pub(crate) fn forget_touches(&self) -> bool {
        self.signal.take_touch()
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Raised {
        let mut bell = [PollFd::new(self.signal.as_fd(), PollFlags::POLLIN)];
        let ms = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        // A poll that was interrupted, or ended by a bell that rang for a touch already forgotten, is a wait that ended early:
        // the caller looks and waits again.
        let ready = poll(&mut bell, PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX));
        self.signal.silence();
        if self.signal.stopped() {
            Raised::Stopped
        } else if self.signal.take_call() {
            Raised::Called
        } else if self.forget_touches() || ready != Ok(0) {
            Raised::Touched
        } else {
            Raised::Nothing
        }
    }
}
