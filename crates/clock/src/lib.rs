//! Time, randomness and ids as values that are handed in.
//!
//! Every state machine of Highwater takes its time from a [`Clock`] and its ids from an [`IdGen`], so that a test
//! or a simulator decides both. `clippy.toml` bans the system's own clocks everywhere but here.
//! What it does not do: sleeping (the runtime's job) and formatting beyond RFC 3339.

mod manual;
mod rfc3339;
mod system;

pub use manual::{ManualClock, SeededIds};
pub use rfc3339::{format_unix_ms, parse_unix_ms};
pub use system::{SystemClock, SystemIds};

use std::sync::Arc;

/// Milliseconds since the Unix epoch, as LTX headers hold them.
pub type UnixMs = i64;

/// The source of wall-clock and monotonic time.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time; may jump in both directions.
    fn unix_ms(&self) -> UnixMs;
    /// Nanoseconds since an arbitrary fixed point; never goes back.
    fn monotonic_ns(&self) -> u64;
}

/// The source of random ids (lineages, write ids, jitter).
pub trait IdGen: Send + Sync + 'static {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn unix_ms(&self) -> UnixMs {
        (**self).unix_ms()
    }
    fn monotonic_ns(&self) -> u64 {
        (**self).monotonic_ns()
    }
}

impl<T: IdGen + ?Sized> IdGen for Arc<T> {
    fn next_u64(&self) -> u64 {
        (**self).next_u64()
    }
}
