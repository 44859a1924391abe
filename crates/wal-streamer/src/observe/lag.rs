//! What is not durable yet, measured from the commits themselves.
//!
//! The writer says what it copies (commits and frames since attaching, when it saw the first of them) and what became
//! durable. Each file that is stored covers one batch, and the batches are stored in order; so the age of the oldest commit
//! that waits is that of the oldest batch that waits, and bytes and transactions are differences of counters.

use sqlite_replica::Taken;
use std::collections::VecDeque;

/// WAL bytes per frame beyond the page.
const FRAME_HEADER: u64 = 24;
/// One batch is in flight and one gathers; more is a bound, not a plan.
const MOST: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// When the first commit of each waiting batch was seen, monotonic ns.
    waiting: VecDeque<u64>,
    copied: Taken,
    durable: Taken,
    page_size: u64,
}

impl Lag {
    /// A database was attached: its counters begin again. What waited before waits until everything is known to be stored.
    pub(super) fn attached(&mut self, page_size: u32) {
        let waiting = std::mem::take(&mut self.waiting);
        *self = Lag { waiting, page_size: u64::from(page_size), ..Lag::default() };
    }

    /// Its writer failed: whatever is committed from now on is not seen, so it counts as behind until proven otherwise.
    pub(super) fn failed(&mut self, now: u64) {
        if self.waiting.is_empty() {
            self.waiting.push_back(now);
        }
    }

    /// The first commit of a new batch was seen.
    pub(super) fn behind(&mut self, now: u64) {
        if self.waiting.len() < MOST {
            self.waiting.push_back(now);
        }
    }

    pub(super) fn copied(&mut self, taken: Taken) {
        self.copied = taken;
    }

    /// The oldest batch is stored.
    pub(super) fn durable(&mut self, taken: Taken) {
        self.durable = taken;
        self.copied.commits = self.copied.commits.max(taken.commits);
        self.copied.frames = self.copied.frames.max(taken.frames);
        self.waiting.pop_front();
    }

    /// Nothing waits.
    pub(super) fn caught_up(&mut self) {
        self.durable = self.copied;
        self.waiting.clear();
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn seconds(&self, now: u64) -> f64 {
        self.waiting.front().map_or(0.0, |since| now.saturating_sub(*since) as f64 / 1e9)
    }

    pub(super) fn bytes(&self) -> u64 {
        let frames = self.copied.frames.saturating_sub(self.durable.frames);
        frames * (self.page_size + FRAME_HEADER)
    }

    pub(super) fn transactions(&self) -> u64 {
        self.copied.commits.saturating_sub(self.durable.commits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(commits: u64, frames: u64) -> Taken {
        Taken { commits, frames }
    }

    /// A commit that arrives while a file is in flight is still behind when that file becomes durable.
    #[test]
    fn the_next_batch_keeps_its_own_age() {
        let mut lag = Lag::default();
        lag.attached(4096);
        lag.behind(1_000_000_000);
        lag.copied(taken(2, 5));
        lag.behind(3_000_000_000);
        lag.copied(taken(3, 6));
        assert_eq!((lag.seconds(4_000_000_000), lag.transactions(), lag.bytes()), (3.0, 3, 6 * 4120));
        lag.durable(taken(2, 5));
        assert_eq!((lag.seconds(4_000_000_000), lag.transactions(), lag.bytes()), (1.0, 1, 4120));
        lag.durable(taken(3, 6));
        assert_eq!((lag.seconds(4_000_000_000), lag.transactions(), lag.is_behind()), (0.0, 0, false));
    }

    /// While there is no writer nobody sees commits; an alert on the lag must fire all the same.
    #[test]
    fn a_failed_writer_is_behind_until_everything_is_stored() {
        let mut lag = Lag::default();
        lag.attached(4096);
        lag.copied(taken(9, 9));
        lag.failed(1_000_000_000);
        lag.failed(5_000_000_000);
        lag.attached(4096);
        assert_eq!((lag.seconds(11_000_000_000), lag.transactions(), lag.bytes()), (10.0, 0, 0));
        lag.caught_up();
        assert!(!lag.is_behind());
    }
}
