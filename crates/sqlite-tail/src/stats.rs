//! What a tail did, in plain numbers for the metrics of the sidecar.

/// A summary of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spans {
    /// How many.
    pub count: u64,
    /// All together, in ns.
    pub sum_ns: u64,
    /// The longest, in ns.
    pub max_ns: u64,
    /// The latest, in ns.
    pub last_ns: u64,
    /// How many took at most 1, 2, 5, 10, 20, 50 and 100 ms, cumulative.
    pub at_most: [u64; 7],
}

/// Upper bounds of [`Spans::at_most`], in ns.
pub const SPAN_BOUNDS_NS: [u64; 7] =
    [1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000, 100_000_000];

impl Spans {
    pub(crate) fn add(&mut self, ns: u64) {
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
        self.last_ns = ns;
        for (slot, bound) in self.at_most.iter_mut().zip(SPAN_BOUNDS_NS) {
            *slot += u64::from(ns <= bound);
        }
    }
}

/// Counters since attaching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// PASSIVE checkpoints run.
    pub checkpoints: u64,
    /// … that left nothing to backfill, so that the next commit can restart the WAL.
    pub checkpoints_complete: u64,
    /// … that left frames behind.
    pub checkpoints_partial: u64,
    /// … that found another checkpointer at work.
    pub checkpoints_busy: u64,
    /// Frames our checkpoints copied into the database file.
    pub backfilled_frames: u64,
    /// How long the write lock was held (P5: budget 20 ms).
    pub barrier: Spans,
    /// Barriers not granted within the timeout.
    pub barrier_busy: u64,
    /// Moves of the hold, from one lock to another.
    pub hand_overs: u64,
    /// How long a move took, from asking for the next lock to releasing the last.
    pub hand_over: Spans,
    /// Times a wake found the frames written but not yet published (trap 1).
    pub publication_retries: u64,
    /// Times the WAL restarted behind a complete copy.
    pub wal_restarts: u64,
    /// Times a broken wal-index was handed to SQLite for recovery.
    pub index_recoveries: u64,
    /// Frames copied.
    pub frames: u64,
    /// Commits copied.
    pub commits: u64,
}
