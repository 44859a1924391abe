//! What the protocol hears and says.

/// Frame counts and times that decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) checkpoint_frames: u32,
    pub(crate) barrier_max_frames: u32,
    /// From here on a barrier may be taken for more frames, if they fit into `barrier_ns`.
    pub(crate) wal_max_frames: u32,
    pub(crate) barrier_ns: u64,
    pub(crate) idle_ns: u64,
    /// Beside a writer that does not pause, a completed checkpoint and the next one are so far apart …
    pub(crate) cycle_ns: u64,
    /// … unless the WAL has so many frames.
    pub(crate) cycle_frames: u32,
    /// A writer has paused if nothing came in for so long.
    pub(crate) calm_ns: u64,
}

/// What the wal-index said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) salts: (u32, u32),
    pub(crate) mx_frame: u32,
    pub(crate) n_backfill: u32,
}

impl Facts {
    pub(super) fn behind(&self) -> u32 {
        self.mx_frame.saturating_sub(self.n_backfill)
    }
    pub(super) fn complete(&self) -> bool {
        self.n_backfill == self.mx_frame
    }
    pub(super) fn same_state(&self, other: &Self) -> bool {
        self.salts == other.salts && self.mx_frame == other.mx_frame
    }
}

/// What a tick is for, beyond getting out of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: the caller is about to copy, which may take long.
    Copy,
    /// Whatever is due.
    Maintain,
    /// A checkpoint, whatever the limits say.
    Checkpoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time to look after things.
    Tick { now: Facts, then: Then },
    /// `Pin` done: the mark of the new slot, read under its lock. `None`: no slot better than the one held.
    Pinned { mark: Option<u32>, now: Facts },
    /// `Raise` done.
    Raised,
    /// `LetGo`, `LeavePin` or `LeaveZero` done.
    Left,
    /// `Copy` done, everything up to this.
    Copied(Facts),
    /// `Checkpoint` done; the index before and afterwards.
    Checkpointed { before: Facts, now: Facts, busy: bool, took_ns: u64 },
    /// `LockZero` done; the index read under both locks. `None`: a checkpointer is copying.
    ZeroLocked(Option<Facts>),
    /// `TakeBarrier` done: nothing can be appended now.
    BarrierTaken(Facts),
    /// `TakeBarrier` failed: a writer was busy.
    BarrierBusy,
    /// `Release` done.
    Released,
    /// `Brake` done, if a slot was to be had; or `Unbrake`.
    Braked,
    /// An action failed and the driver has cleaned up: the hold as it was, no barrier.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Lock the best slot of READ_LOCK(1..4) (see [`super::preference`]), beside what is held.
    Pin,
    /// Let go of the slot just locked, and let SQLite raise the mark of a free one by a read transaction.
    Raise,
    /// Release what was held before `Pin`.
    LetGo,
    /// Copy everything published.
    Copy,
    /// Lock READ_LOCK(0) beside the pin.
    LockZero,
    /// Release the pin: the hold is READ_LOCK(0).
    LeavePin,
    /// Release READ_LOCK(0): the hold is the pin.
    LeaveZero,
    /// Share the slot with the oldest mark beside the pin: the application's own hook then has nothing to do.
    Brake,
    /// End that: others may backfill again.
    Unbrake,
    /// PASSIVE on the second connection; ends a `Brake`.
    Checkpoint,
    /// Take the write lock on the first connection. Impatiently if a checkpointer of the application may hold it.
    TakeBarrier { patient: bool },
    /// End the barrier.
    Release,
}
