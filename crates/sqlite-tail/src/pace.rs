//! Whether a writer is so busy that its tail does without being told.
//!
//! Beside a writer that does not pause an event says nothing new, and costs that writer a part of each write (see `hub.rs`):
//! the tail takes its watches away and looks every [`POLL`] instead, until the writer pauses.

use std::time::Duration;

/// How often to look then.
pub(crate) const POLL: Duration = Duration::from_millis(2);
/// Waiting so long for news is a pause of the writer.
const PAUSE_NS: u64 = 10_000_000;
/// A writer without a pause for so long is busy.
const BUSY_NS: u64 = 100_000_000;

/// Times are of a monotonic clock. What counts is the time waited for news; while the tail does something else, the writer may
/// have been at work.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The first news after the last pause.
    since_ns: u64,
    waited_ns: u64,
    busy: bool,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { since_ns: 0, waited_ns: u64::MAX, busy: false }
    }

    /// Waited so long, and nothing came.
    pub(crate) fn waited(&mut self, ns: u64) {
        self.waited_ns = self.waited_ns.saturating_add(ns);
        self.busy &= self.waited_ns <= PAUSE_NS;
    }

    /// News, at this moment.
    pub(crate) fn news(&mut self, now_ns: u64) {
        if self.waited_ns > PAUSE_NS {
            self.since_ns = now_ns;
        }
        self.waited_ns = 0;
        self.busy = now_ns.saturating_sub(self.since_ns) >= BUSY_NS;
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_writer_that_does_not_pause_is_busy_until_it_does() {
        let mut pace = Pace::new();
        for ms in 60_000..60_100 {
            pace.news(ms * MS);
            assert!(!pace.is_busy(), "{ms}");
            pace.waited(MS);
        }
        pace.news(60_100 * MS);
        assert!(pace.is_busy());
        // A tail that was away for a second knows nothing of a pause.
        pace.news(61_000 * MS);
        pace.waited(2 * MS);
        pace.waited(8 * MS);
        assert!(pace.is_busy());
        pace.waited(1);
        assert!(!pace.is_busy());
        pace.news(61_010 * MS);
        assert!(!pace.is_busy(), "it begins anew");
    }

    #[test]
    fn fifty_commits_a_second_are_not_busy() {
        let mut pace = Pace::new();
        for at in 0..1_000 {
            pace.news(at * 20 * MS);
            assert!(!pace.is_busy(), "{at}");
            pace.waited(19 * MS);
        }
    }
}
