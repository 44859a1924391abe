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
    /// No further attempt starts after this time; a running attempt is not cut.
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

    /// The pause after `attempt` (1-based) failed, `elapsed` since the first began; `None` when it was the last.
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
    use clock::SeededIds;

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
}
