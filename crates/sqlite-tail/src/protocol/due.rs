//! When a checkpoint is due, how much of one fits under the barrier, and which writer is a steady one.

use super::Protocol;
use super::place::Hold;
use super::words::Facts;

impl Protocol {
    /// Ns until a tick would do something although nothing changes; `None` if nothing is due.
    pub(crate) fn due_in(&self, now: &Facts, now_ns: u64) -> Option<u64> {
        let settle = self.hold.is_in_the_way(now).then_some(self.pauses.settle_ns);
        let unbrake = self.braked.then(|| self.calm_ns());
        let due = [self.checkpoint_due(now, now_ns), settle, unbrake].into_iter().flatten().min()?;
        Some(due.saturating_sub(now_ns))
    }

    pub(super) fn checkpoint_due(&self, now: &Facts, now_ns: u64) -> Option<u64> {
        if now.behind() == 0 {
            return None;
        }
        // By `mxFrame`, not by what is left to backfill: beyond 1,000 frames the application's own hook backfills after
        // every commit, which costs it more than a restart now and then (trap 9).
        let due = if now.mx_frame < self.limits.checkpoint_frames {
            self.changed_ns.saturating_add(self.limits.idle_ns)
        } else if now.mx_frame < self.limits.cycle_frames {
            // Each cycle costs the writer a wait for the barrier, and the disk four syncs.
            let cycle = self.completed_ns.map_or(0, |at| at.saturating_add(self.limits.cycle_ns));
            cycle.min(self.calm_ns())
        } else {
            now_ns
        };
        Some(due.max(self.pauses.checkpoint_ns))
    }

    /// When a writer from which nothing comes any more has paused.
    pub(super) fn calm_ns(&self) -> u64 {
        self.changed_ns.saturating_add(self.limits.calm_ns)
    }

    /// Whether nothing has come from the writer for a while.
    pub(crate) fn is_calm(&self, now_ns: u64) -> bool {
        now_ns >= self.calm_ns()
    }

    /// A writer is steady if the hook would have begun although it was not waited for, and commits came in until now: what the
    /// last tick saw is not the end.
    pub(super) fn judge(&mut self, completed: &Facts, now_ns: u64) {
        if completed.mx_frame == 0 {
            return; // restarted, and nothing committed yet
        }
        let frames = self.limits.checkpoint_frames;
        let at_work = !self.is_calm(now_ns) || !completed.same_state(&self.seen);
        self.steady = at_work && completed.mx_frame >= frames.saturating_add(frames / 4);
    }

    /// A writer that does not pause is about to restart the WAL. A brake taken at once has a low mark.
    pub(crate) fn expects_restart(&self) -> bool {
        self.steady && matches!(self.hold, Hold::Zero { .. })
    }

    /// The caller has let the brake go.
    pub(crate) fn released(&mut self) {
        (self.braked, self.steady) = (false, false);
    }

    pub(super) fn measure(&mut self, before: &Facts, now: &Facts, took_ns: u64) {
        if now.salts == before.salts && now.n_backfill > before.n_backfill {
            self.pace = Some((now.n_backfill - before.n_backfill, took_ns));
        }
    }

    /// The WAL is too long, and what is left takes no longer than the barrier may be held, judged by the last
    /// checkpoint: at least as long as it took (its syncs), longer in proportion to the frames.
    pub(super) fn fits_under_barrier(&self, now: &Facts) -> bool {
        now.mx_frame >= self.limits.wal_max_frames
            && self.pace.is_some_and(|(frames, ns)| {
                let frames = u128::from(frames.max(1));
                u128::from(ns) * u128::from(now.behind()).max(frames) / frames
                    <= u128::from(self.limits.barrier_ns)
            })
    }
}
