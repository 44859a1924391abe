//! How long a request may go without progress, and what progress is (P7).
//!
//! A total time limit is either too short for a 1 KiB/s uplink or too long for a dead one. So a request may take for ever as long as
//! something moves: a piece of its body is taken by the client, or the store's kernel acknowledges bytes that lie in our socket. Several hundred
//! KiB may lie there, which take minutes on a slow line and for ever on a dead one; only the kernel can tell one from the other.
//!
//! Where the socket cannot be seen, what may lie in it is supposed to move at 16 KiB/s. Over TLS a connection may be HTTP/2, shared with
//! other requests whose bytes cannot be told from ours: there the socket's word is taken for 256 s after our own last piece.
//!
//! What a proxy has taken and not yet passed on is invisible: the store's answer has to come within `idle` of the last byte.

use std::time::Duration;
use tokio::time::Instant;

/// What lies in buffers below us at most, as far as it is only supposed.
const UNSEEN: u64 = 256 << 10;
/// How fast that moves at least, bytes a second.
const SLOWEST: u64 = 16 << 10;
/// How long the acknowledgements of a shared connection count.
const SHARED: Duration = Duration::from_secs(256);

/// The patience with one request.
#[derive(Debug)]
pub(super) struct Patience {
    idle: Duration,
    /// What is added while the socket cannot be seen.
    unseen: Duration,
    shared: bool,
    /// Bytes of the body that the client has taken, and when it took the last.
    taken: (u64, Instant),
    /// Bytes in the socket at the last look.
    queued: Option<u64>,
    /// The last progress.
    moved: Instant,
}

impl Patience {
    /// For a request of `length` bytes that begins now; `shared` if its connection may carry others beside it.
    pub(super) fn new(idle: Duration, length: u64, shared: bool, now: Instant) -> Patience {
        let unseen = Duration::from_secs(length.min(UNSEEN).div_ceil(SLOWEST));
        Patience { idle, unseen, shared, taken: (0, now), queued: None, moved: now }
    }

    /// Whether to go on, after a look at what was taken and what lies in the socket.
    pub(super) fn lasts(&mut self, now: Instant, taken: u64, queued: Option<u64>) -> bool {
        if taken > self.taken.0 {
            self.taken = (taken, now);
            self.moved = now;
        }
        if let Some(queued) = queued {
            let counts = !self.shared || now - self.taken.1 < SHARED;
            if counts && self.queued.is_some_and(|before| before != queued) {
                self.moved = now;
            }
            self.queued = Some(queued);
        }
        now - self.moved < self.limit()
    }

    /// How long nothing may move.
    pub(super) fn limit(&self) -> Duration {
        if self.queued.is_some() { self.idle } else { self.idle + self.unseen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(30);
    const LOOK: Duration = Duration::from_secs(4);

    /// Seconds until patience ends, with a look every 4 s; `None` if it lasts an hour.
    fn ends_after(
        patience: &mut Patience,
        begun: Instant,
        mut seen: impl FnMut(u64) -> (u64, Option<u64>),
    ) -> Option<u64> {
        (1..900).map(|look| LOOK * look).find_map(|at| {
            let (taken, queued) = seen(at.as_secs());
            (!patience.lasts(begun + at, taken, queued)).then_some(at.as_secs())
        })
    }

    #[test]
    fn p7_a_body_that_nobody_acknowledges_is_given_up_after_idle_whatever_its_size() {
        for length in [0, 280 << 10, 8 << 20] {
            let begun = Instant::now();
            let mut patience = Patience::new(IDLE, length, false, begun);
            // All of it is in the socket at the first look, and stays there.
            assert_eq!(
                ends_after(&mut patience, begun, |_| (length, Some(length))),
                Some(if length > 0 { 36 } else { 32 })
            );
        }
    }

    #[test]
    fn a_slow_line_is_waited_for_and_its_end_is_noticed() {
        let begun = Instant::now();
        let mut patience = Patience::new(IDLE, 280 << 10, false, begun);
        let crawling = |at: u64| (280 << 10, Some((280 << 10) - 64 * at));
        assert_eq!(ends_after(&mut patience, begun, crawling), None, "64 bytes a second");
        let mut patience = Patience::new(IDLE, 280 << 10, false, begun);
        let cut = |at: u64| (280 << 10, Some((280u64 << 10) - 1024 * at.min(100)));
        assert_eq!(ends_after(&mut patience, begun, cut), Some(132));
    }

    #[test]
    fn an_unseen_socket_gets_a_little_longer() {
        let begun = Instant::now();
        let mut patience = Patience::new(IDLE, 8 << 20, false, begun);
        assert_eq!(ends_after(&mut patience, begun, |_| (8 << 20, None)), Some(52), "4 + 30 + 16");
        let mut patience = Patience::new(IDLE, 1, false, begun);
        assert_eq!(ends_after(&mut patience, begun, |_| (0, None)), Some(32));
    }

    #[test]
    fn p7_other_requests_on_the_connection_do_not_hide_one_that_hangs() {
        let begun = Instant::now();
        let busy = |at: u64| (1000, Some(at));
        let mut patience = Patience::new(IDLE, 1000, true, begun);
        let ended = ends_after(&mut patience, begun, busy).expect("it hangs");
        assert!((280..=300).contains(&ended), "{ended}");
    }
}
