//! What a tail waits for: writes to `-wal` (commits) and to the database (checkpoints of others), calls, and time.
//!
//! Events are hints, the wal-index is the truth (trap 1). A tail that cannot be watched polls.

use crate::hub::Watched;
use crate::signal::Signal;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    watched: Option<Watched>,
    signal: Arc<Signal>,
}

impl Watch {
    pub(crate) fn new(wal: &Path, db: &Path, signal: Arc<Signal>) -> Self {
        let watched = Watched::new(&[wal, db], &signal)
            .inspect_err(
                |error| tracing::debug!(%error, path = %db.display(), "cannot watch, polling instead"),
            )
            .ok();
        Self { watched, signal }
    }

    /// Whether writes end a wait; if not, the caller polls.
    pub(crate) fn sighted(&self) -> bool {
        self.watched.is_some()
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
