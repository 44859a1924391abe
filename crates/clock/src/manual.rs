//! A clock that stands still until told, and ids from a seed: for tests and simulation.

use crate::{Clock, IdGen, UnixMs};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A clock moved by hand. The wall clock may be set back; the monotonic one only advances.
#[derive(Debug)]
pub struct ManualClock {
    unix_ms: AtomicI64,
    monotonic_ns: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `unix_ms`.
    pub fn at(unix_ms: UnixMs) -> Self {
        Self { unix_ms: AtomicI64::new(unix_ms), monotonic_ns: AtomicU64::new(0) }
    }

    /// Lets `ms` pass on both clocks.
    pub fn advance_ms(&self, ms: u64) {
        self.unix_ms.fetch_add(ms as i64, Ordering::SeqCst);
        self.monotonic_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn jump_to(&self, unix_ms: UnixMs) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> UnixMs {
        self.unix_ms.load(Ordering::SeqCst)
    }
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::SeqCst)
    }
}

/// SplitMix64 from a seed: the same seed gives the same ids.
#[derive(Debug)]
pub struct SeededIds(AtomicU64);

impl SeededIds {
    /// Ids that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl IdGen for SeededIds {
    fn next_u64(&self) -> u64 {
        let mut z =
            self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_the_wall_clock_only() {
        let clock = ManualClock::at(1_000);
        clock.advance_ms(5);
        clock.jump_to(10);
        assert_eq!((clock.unix_ms(), clock.monotonic_ns()), (10, 5_000_000));
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (a, b) = (SeededIds::new(7), SeededIds::new(7));
        let ids: Vec<u64> = (0..4).map(|_| a.next_u64()).collect();
        assert_eq!(ids, (0..4).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(ids[0], ids[1]);
    }
}
