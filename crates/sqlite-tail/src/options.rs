//! The knobs of a tail; the defaults are the measured ones of decision 0002.

use crate::protocol::Limits;
use crate::wal::FRAME_HEADER;
use std::time::Duration;

/// In `checkpoint_pause` the WAL may grow to so many times `checkpoint_frames`, and to three quarters of `wal_limit`.
const CYCLE: u32 = 16;
/// A writer has paused if it committed nothing for this long.
const CALM: Duration = Duration::from_millis(20);

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
    /// Bytes of the WAL from which on the barrier may be taken for more frames, if by the pace of the last checkpoint
    /// they fit into `barrier_budget`: for a writer that outruns every checkpoint beside it.
    pub wal_limit: u64,
    /// How long the write lock may be held by estimate, in that case.
    pub barrier_budget: Duration,
    /// A database quiet for this long with frames not backfilled is checkpointed.
    pub idle_checkpoint: Duration,
    /// Beside a writer that does not pause, checkpoints are this far apart; meanwhile nobody may backfill, so that the
    /// application's own hook, which runs after every commit, has nothing to do.
    pub checkpoint_pause: Duration,
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
            wal_limit: 64 << 20,
            barrier_budget: Duration::from_millis(20),
            idle_checkpoint: Duration::from_secs(10),
            checkpoint_pause: Duration::from_millis(250),
            convert_to_wal: false,
        }
    }
}

impl Options {
    pub(crate) fn limits(&self, page_size: u32) -> Limits {
        let frame = FRAME_HEADER as u64 + u64::from(page_size);
        let wal_max_frames = (self.wal_limit / frame).min(u64::from(u32::MAX)) as u32;
        let cycle_frames = self.checkpoint_frames.saturating_mul(CYCLE).min(wal_max_frames / 4 * 3);
        Limits {
            checkpoint_frames: self.checkpoint_frames,
            barrier_max_frames: self.barrier_max_frames,
            wal_max_frames,
            barrier_ns: self.barrier_budget.as_nanos() as u64,
            idle_ns: self.idle_checkpoint.as_nanos() as u64,
            cycle_ns: self.checkpoint_pause.as_nanos() as u64,
            cycle_frames: cycle_frames.max(self.checkpoint_frames),
            calm_ns: CALM.as_nanos() as u64,
        }
    }
}
