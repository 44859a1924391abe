//! The machine's own clock and randomness: the one place that may ask for them.

use crate::{Clock, IdGen, UnixMs};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The system clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

#[allow(clippy::disallowed_methods)] // this type is what the ban points to
impl Clock for SystemClock {
    fn unix_ms(&self) -> UnixMs {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        }
    }

    fn monotonic_ns(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// Ids from the operating system's randomness (through the standard library's seeded hasher).
#[derive(Debug, Default)]
pub struct SystemIds {
    counter: AtomicU64,
}

impl IdGen for SystemIds {
    fn next_u64(&self) -> u64 {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(self.counter.fetch_add(1, Ordering::Relaxed));
        hasher.write_u64(SystemClock.monotonic_ns());
        hasher.write_u64(SystemClock.unix_ms() as u64);
        hasher.write_u32(std::process::id());
        hasher.finish()
    }
}
