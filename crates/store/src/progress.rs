//! Bytes fetched so far, for bars and log lines of whoever restores.

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

    /// More bytes have arrived.
    pub fn add(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }
}
