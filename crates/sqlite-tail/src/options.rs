//! The knobs of a tail; the defaults are the measured ones of decision 0002.

use std::time::Duration;

/// How a [`Tail`](crate::Tail) behaves beside its application.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long attaching and opening read transactions wait for a lock.
    pub busy_timeout: Duration,
    /// How long the write barrier is asked for before it is given up until later.
    pub barrier_timeout: Duration,
    /// Frames not yet backfilled that make a checkpoint due: below the application's own 1,000, so that its
    /// auto-checkpoint hook stays quiet (trap 9).
    pub checkpoint_frames: u32,
    /// Frames that may remain to be backfilled under the write barrier (trap 8: 1,000 pages took 19 ms).
    pub barrier_max_frames: u32,
    /// A database quiet for this long with frames not backfilled is checkpointed.
    pub idle_checkpoint: Duration,
    /// Turn a rollback-journal database into a WAL database instead of refusing it.
    pub convert_to_wal: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            barrier_timeout: Duration::from_millis(50),
            checkpoint_frames: 800,
            barrier_max_frames: 256,
            idle_checkpoint: Duration::from_secs(10),
            convert_to_wal: false,
        }
    }
}
