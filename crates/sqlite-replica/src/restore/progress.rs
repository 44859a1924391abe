//! Bytes fetched so far, for bars and log lines.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what arrives.
#[derive(Debug, Default)]
pub struct Progress {
    fetched: AtomicU64,
}

impl Progress {
    /// Bytes fetched so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }
}
