//! How often and how long an operation is repeated: full jitter under a cap, bounded in attempts and in time (P7).
//!
//! Only errors of class [`crate::Class::Retriable`] are repeated, and only calls whose repetition is harmless: the
//! caller of [`RetryPolicy::delay`] decides that. Jitter comes from the injected `IdGen`.

use clock::IdGen;
use std::time::Duration;

/// Bounds of a retried operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// Upper bound of the first pause; doubles with each attempt.
    pub base: Duration,
    /// Upper bound of every pause.
    pub cap: Duration,
    /// No further attempt starts this long after the first has failed; a running attempt is not cut.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(10),
            budget: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// One attempt only.
    pub fn none() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Many attempts without noticeable pauses: for tests.
    pub fn immediate(max_attempts: u32) -> Self {
        let pause = Duration::from_millis(1);
        Self { max_attempts, base: pause, cap: pause, budget: Duration::from_secs(3_600) }
    }

    /// The pause after `attempt` (1-based) failed, `elapsed` since the first did; `None` when it was the last.
    pub fn delay(&self, attempt: u32, elapsed: Duration, ids: &dyn IdGen) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let ceiling = self.base.saturating_mul(1u32 << (attempt - 1).min(20)).min(self.cap);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX).max(1);
        let pause = Duration::from_nanos(ids.next_u64() % nanos);
        (elapsed + pause < self.budget).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Operation;
    use crate::{Error, MemoryStore, OpenConfig, Store, Trouble};
    use clock::{ManualClock, SeededIds};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn p7_pauses_are_bounded_in_size_number_and_time() {
        let policy = RetryPolicy::default();
        let ids = SeededIds::new(1);
        for attempt in 1..policy.max_attempts {
            for _ in 0..100 {
                let pause = policy.delay(attempt, Duration::ZERO, &ids).expect("within bounds");
                assert!(pause <= policy.cap && pause <= policy.base * (1 << (attempt - 1)));
            }
        }
        assert_eq!(policy.delay(policy.max_attempts, Duration::ZERO, &ids), None);
        assert_eq!(policy.delay(1, policy.budget, &ids), None);
    }

    /// Over a slow line one part takes longer than the whole patience; one reply with 503 must not throw a large body away.
    #[tokio::test]
    async fn p1_a_request_that_took_long_before_it_failed_is_repeated() {
        let clock = Arc::new(ManualClock::at(0));
        let config = OpenConfig::new(clock.clone(), Arc::new(SeededIds::new(1)));
        let store = Store::new(Arc::new(MemoryStore::new(clock.clone())), &config);
        let slow = |failures: u32| {
            let (calls, clock) = (AtomicU32::new(0), clock.clone());
            let store = store.clone();
            async move {
                let call = || {
                    clock.advance_ms(70_000);
                    let fails = calls.fetch_add(1, Ordering::Relaxed) < failures;
                    async move {
                        if fails { Err(Error::unavailable("put 1", Trouble::Server, "503")) } else { Ok(()) }
                    }
                };
                let done = store.repeat(Operation::PutPart, 0, call).await;
                (done.is_ok(), calls.load(Ordering::Relaxed))
            }
        };
        assert_eq!(slow(1).await, (true, 2));
        assert_eq!(slow(100).await, (false, 2), "a store that goes on failing is given up (P7)");
    }
}
