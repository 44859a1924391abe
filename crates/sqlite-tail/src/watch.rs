//! inotify on `-wal` (commits) and the database (checkpoints of others), read by the thread that waits.
//!
//! Used directly instead of through `notify`, whose own thread reads every event as it comes: arming and disarming a
//! watch around each wait, so that it does not run while the tail copies, cost more than a look at the wal-index does.
//! Here nobody reads while the tail copies; the kernel merges equal events in the queue, so a busy writer pays next to
//! nothing.
//!
//! inotify instances are limited per user (128 by default); a tail that gets none polls. Events are hints, the wal-index
//! is the truth (trap 1).

use crate::signal::Signal;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
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
    inotify: Option<Inotify>,
    signal: Arc<Signal>,
}

impl Watch {
    pub(crate) fn new(wal: &Path, db: &Path, signal: Arc<Signal>) -> Self {
        let open = || -> nix::Result<Inotify> {
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
            let events =
                AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
            inotify.add_watch(wal, events)?;
            inotify.add_watch(db, events)?;
            Ok(inotify)
        };
        let inotify = open()
            .inspect_err(
                |error| tracing::debug!(%error, path = %db.display(), "cannot watch, polling instead"),
            )
            .ok();
        Self { inotify, signal }
    }

    /// Whether writes end a wait; if not, the caller polls.
    pub(crate) fn sighted(&self) -> bool {
        self.inotify.is_some()
    }

    /// Forgets the touches so far: the caller is about to look.
    pub(crate) fn forget_touches(&self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        // One read empties the queue but for a storm, and in a storm the next look comes soon.
        inotify.read_events().is_ok_and(|events| !events.is_empty())
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Raised {
        let mut fds = Vec::with_capacity(2);
        fds.push(PollFd::new(self.signal.as_fd(), PollFlags::POLLIN));
        if let Some(inotify) = &self.inotify {
            fds.push(PollFd::new(inotify.as_fd(), PollFlags::POLLIN));
        }
        let ms = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        // An interrupted poll is a wait that ended early: the caller looks and waits again.
        let ready = poll(&mut fds, PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX));
        self.signal.silence();
        if self.signal.stopped() {
            Raised::Stopped
        } else if self.signal.take_call() {
            Raised::Called
        } else if self.forget_touches() || ready.is_err() {
            Raised::Touched
        } else {
            Raised::Nothing
        }
    }
}
