//! When to try again: three different reasons to wait, each with its own pace.

use super::words::Facts;

/// First and longest pause after a checkpoint that a foreign reader kept from completing: most readers are gone in no
/// time, a report or a backup may stay for hours.
const BACK_OFF_NS: (u64, u64) = (50_000_000, 30_000_000_000);
/// Pause after the writer outran us or kept the write lock; nobody is to blame, so it does not grow.
const OUTRUN_NS: u64 = 5_000_000;
/// First and longest pause until a hold that is in somebody's way is moved again: he may be waiting right now.
const SETTLE_NS: (u64, u64) = (1_000_000, 1_000_000_000);

#[derive(Debug)]
pub(super) struct Pauses {
    /// No checkpoint before.
    pub(super) checkpoint_ns: u64,
    /// No attempt to move the hold before, unless there is news.
    pub(super) settle_ns: u64,
    /// Where a foreign mark stopped the last checkpoint.
    stuck_at: Option<((u32, u32), u32)>,
    /// The generation that was last backfilled completely.
    completed: Option<(u32, u32)>,
    back_off_ns: u64,
    settle_pause_ns: u64,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            checkpoint_ns: 0,
            settle_ns: 0,
            stuck_at: None,
            completed: None,
            back_off_ns: BACK_OFF_NS.0,
            settle_pause_ns: SETTLE_NS.0,
        }
    }

    /// Everything is backfilled. If that was so before in this generation, readers keep the WAL from restarting, and
    /// doing it again after every commit would be in vain (Litestream's feedback loop).
    pub(super) fn complete(&mut self, now: &Facts, now_ns: u64) {
        if self.completed == Some(now.salts) {
            self.back_off(now_ns);
        } else {
            self.succeed();
            self.completed = Some(now.salts);
        }
    }

    /// A foreign mark stopped us. Mostly it is a reader that leaves at once; only a mark that stays is worth a
    /// longer pause.
    pub(super) fn stuck(&mut self, now: &Facts, now_ns: u64) {
        if self.stuck_at == Some((now.salts, now.n_backfill)) {
            self.back_off(now_ns);
        } else {
            self.succeed();
            self.outrun(now_ns);
            self.stuck_at = Some((now.salts, now.n_backfill));
        }
    }

    pub(super) fn outrun(&mut self, now_ns: u64) {
        self.checkpoint_ns = now_ns + OUTRUN_NS;
    }

    pub(super) fn back_off(&mut self, now_ns: u64) {
        self.checkpoint_ns = now_ns + self.back_off_ns;
        self.back_off_ns = (self.back_off_ns * 2).min(BACK_OFF_NS.1);
    }

    fn succeed(&mut self) {
        self.checkpoint_ns = 0;
        self.stuck_at = None;
        self.back_off_ns = BACK_OFF_NS.0;
    }

    /// The hold is about to be moved; if that fails, it is tried again after a pause that grows until there is news.
    pub(super) fn settle(&mut self, now_ns: u64) {
        self.settle_ns = now_ns + self.settle_pause_ns;
        self.settle_pause_ns = (self.settle_pause_ns * 2).min(SETTLE_NS.1);
    }

    pub(super) fn news(&mut self) {
        self.settle_pause_ns = SETTLE_NS.0;
    }
}
