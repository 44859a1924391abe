//! Waiting for news without a timer, and without the lost wake-up of trap 1.
//!
//! inotify fires at the write, the commit is published later, and publishing (a store into shared memory) fires
//! nothing. So: look, and as long as something is written but not published, look again after 1, 2, 4 … 1000 ms.
//! The same for a checkpoint of the application: its writes to the database fire, its end does not, and a RESTART or
//! TRUNCATE then waits for us to move to READ_LOCK(0).

use super::{Tail, facts};
use crate::Error;
use crate::wal_index::WalIndex;
use crate::watch::Raised;
use std::time::Duration;

const FIRST_RETRY: Duration = Duration::from_millis(1);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Why [`Tail::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something to look at: a commit, a checkpoint, an error, or a call of [`Waker::wake`](crate::Waker::wake).
    Event,
    /// The time is over, or a checkpoint is due: time for [`Tail::maintain`].
    Timeout,
    /// [`Waker::stop`](crate::Waker::stop) was called.
    Stopped,
}

impl Tail {
    /// Waits until the published state differs from what the last [`look`](Tail::look) or [`copy`](Tail::copy) saw,
    /// at most for `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Wake {
        // From here on every write is an event; older ones are covered by looking now.
        self.watch.forget_touches();
        let mut left = timeout;
        let mut retry = FIRST_RETRY;
        loop {
            let (index, unpublished) = match self.stir() {
                Err(_) => return Wake::Event,
                Ok(Stir::Moved) => {
                    self.pace.news(self.clock.monotonic_ns());
                    if self.pace.is_busy() {
                        self.watch.close();
                    }
                    return Wake::Event;
                }
                Ok(Stir::Unpublished(index)) => (index, true),
                Ok(Stir::Still(index)) => (index, false),
            };
            let now_ns = self.clock.monotonic_ns();
            if self.watch.is_due(self.pace.is_busy(), now_ns) {
                self.watch.open(now_ns);
                continue; // what was written before is no event
            }
            let mut slice = left;
            let due = self.protocol.due_in(&facts(&index), now_ns);
            let due = due.map(|ns| Duration::from_nanos(ns).max(FIRST_RETRY)).filter(|due| *due < left);
            if let Some(due) = due {
                slice = due;
            }
            let mut early = false;
            if unpublished && retry < slice {
                slice = retry;
                retry = (retry * 2).min(LAST_RETRY);
                early = true;
            }
            if let Some(poll) = self.watch.poll().filter(|poll| *poll < slice) {
                slice = poll;
                early = true;
            }
            let began = self.clock.monotonic_ns();
            let raised = self.watch.wait(slice);
            let passed_ns = self.clock.monotonic_ns().saturating_sub(began);
            self.pace.waited(passed_ns);
            match raised {
                Raised::Stopped => return Wake::Stopped,
                Raised::Called => return Wake::Event,
                Raised::Touched => {
                    left = left.saturating_sub(Duration::from_nanos(passed_ns).min(slice));
                    retry = FIRST_RETRY;
                }
                Raised::Nothing if early => left = left.saturating_sub(slice),
                Raised::Nothing => return Wake::Timeout,
            }
            self.stats.publication_retries += u64::from(unpublished);
        }
    }

    fn stir(&mut self) -> Result<Stir, Error> {
        let index = self.index()?;
        let rested = index.n_backfill == index.mx_frame;
        if !index.same_state(&self.seen) || (rested && self.seen.n_backfill != self.seen.mx_frame) {
            return Ok(Stir::Moved);
        }
        let checkpointing = index.n_backfill_attempted > index.n_backfill;
        if checkpointing || self.pending_publication(&index)? {
            return Ok(Stir::Unpublished(index));
        }
        Ok(Stir::Still(index))
    }
}

enum Stir {
    /// News since the caller looked.
    Moved,
    /// Written, not published; or a checkpoint is at work.
    Unpublished(WalIndex),
    Still(WalIndex),
}
