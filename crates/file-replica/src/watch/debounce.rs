//! When to look: a state machine without I/O or clock.
//!
//! Ten seconds after the last event, at most a minute after the first, now and then without any event, at once when told to stop. What is
//! most likely no change to be kept (a database at work beside the files) does not keep the others waiting, and is looked at after that minute.
//! Times are milliseconds of a monotonic clock.

/// The settings of a [`Debounce`], in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Quiet time that is waited for.
    pub quiet_ms: u64,
    /// Longest wait after the first event.
    pub most_ms: u64,
    /// A look without any event.
    pub rescan_ms: u64,
}

/// Decides when the tree is looked at.
#[derive(Debug, Clone)]
pub struct Debounce {
    pace: Pace,
    /// Since when something has been waiting to be committed.
    waiting: Option<u64>,
    first: Option<u64>,
    faint: Option<u64>,
    last: u64,
    rescan_at: u64,
}

impl Debounce {
    /// The first look is due at once: nobody knows what happened before.
    pub fn new(pace: Pace, now: u64) -> Debounce {
        Debounce { pace, waiting: None, first: None, faint: None, last: now, rescan_at: now }
    }

    /// Something may have changed.
    pub fn event(&mut self, now: u64) {
        self.waiting.get_or_insert(now);
        self.first.get_or_insert(now);
        self.last = self.last.max(now);
    }

    /// Something happened that is hardly a change.
    pub fn faint(&mut self, now: u64) {
        self.faint.get_or_insert(now);
    }

    /// When the next look is due.
    pub fn due(&self) -> u64 {
        let after_events =
            self.first.map(|first| (self.last + self.pace.quiet_ms).min(first + self.pace.most_ms));
        let after_faint = self.faint.map(|faint| faint + self.pace.most_ms);
        after_events.into_iter().chain(after_faint).min().unwrap_or(self.rescan_at)
    }

    /// Since when something has been waiting.
    pub fn pending_since(&self) -> Option<u64> {
        self.waiting
    }

    /// A look begins: what happens from here on counts for the next one. `factor_percent` spreads rescans (75 to 125).
    pub fn begin(&mut self, now: u64, factor_percent: u64) {
        self.rescan_at = now + self.pace.rescan_ms * factor_percent / 100;
        (self.first, self.faint) = (None, None);
    }

    /// The look has committed all there was.
    pub fn done(&mut self) {
        self.waiting = self.first;
    }

    /// The look failed, or the tree moved under it: look again after a quiet time.
    pub fn again(&mut self, now: u64) {
        self.event(now);
    }

    /// Changes how often is looked without events.
    pub fn set_rescan(&mut self, rescan_ms: u64, now: u64) {
        self.pace.rescan_ms = rescan_ms;
        self.rescan_at = self.rescan_at.min(now + rescan_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { quiet_ms: 10_000, most_ms: 60_000, rescan_ms: 300_000 };

    fn quiet() -> Debounce {
        let mut d = Debounce::new(PACE, 0);
        assert_eq!(d.due(), 0, "the first look is at once");
        d.begin(0, 100);
        d
    }

    #[test]
    fn ten_seconds_after_the_last_event() {
        let mut d = quiet();
        assert_eq!(d.due(), 300_000);
        d.event(1_000);
        assert_eq!(d.due(), 11_000);
        d.event(9_000);
        assert_eq!(d.due(), 19_000);
        assert_eq!(d.pending_since(), Some(1_000));
        d.begin(19_000, 100);
        d.done();
        assert_eq!((d.due(), d.pending_since()), (319_000, None));
    }

    #[test]
    fn at_most_a_minute_after_the_first() {
        let mut d = quiet();
        (0..200).for_each(|i| d.event(i * 1_000));
        assert_eq!(d.due(), 60_000);
    }

    #[test]
    fn what_is_hardly_a_change_keeps_nothing_waiting() {
        let mut d = quiet();
        (0..59).for_each(|i| d.faint(i * 1_000));
        assert_eq!(
            (d.due(), d.pending_since()),
            (60_000, None),
            "a look in a minute, and nothing that waits"
        );
        d.event(5_000);
        (6..14).for_each(|i| d.faint(i * 1_000));
        assert_eq!((d.due(), d.pending_since()), (15_000, Some(5_000)));
        d.begin(15_000, 100);
        d.done();
        assert_eq!((d.due(), d.pending_since()), (315_000, None));
    }

    #[test]
    fn events_during_a_look_count_for_the_next() {
        let mut d = quiet();
        d.event(0);
        d.begin(10_000, 100);
        d.event(10_001);
        d.done();
        assert_eq!((d.due(), d.pending_since()), (20_001, Some(10_001)));
    }

    #[test]
    fn a_failed_look_is_repeated_after_a_quiet_time_and_not_at_once() {
        let mut d = quiet();
        d.event(0);
        for round in 0..20 {
            let now = d.due();
            d.begin(now, 100);
            d.again(now);
            assert_eq!((d.due(), d.pending_since()), (now + 10_000, Some(0)), "round {round}");
        }
    }

    #[test]
    fn rescans_are_spread() {
        let mut d = quiet();
        d.begin(0, 75);
        assert_eq!(d.due(), 225_000);
        d.set_rescan(20_000, 0);
        assert_eq!(d.due(), 20_000);
    }
}
