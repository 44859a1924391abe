//! A byte rate shared by all connections of a server.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes per second; 0 is no limit.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    state: Mutex<(u64, Option<Instant>)>,
}

impl Throttle {
    pub(super) fn set(&self, bytes_per_second: u64) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (bytes_per_second, None);
    }

    pub(super) fn limited(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 > 0
    }

    /// Takes the next slot on the line for this many bytes; how long to wait until they are through.
    pub(super) fn reserve(&self, bytes: usize) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == 0 {
            return None;
        }
        let now = Instant::now();
        let end = state.1.unwrap_or(now).max(now) + Duration::from_secs_f64(bytes as f64 / state.0 as f64);
        state.1 = Some(end);
        Some(end - now)
    }
}
