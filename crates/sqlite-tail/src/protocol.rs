//! The hand-over and checkpoint protocol as a pure state machine (decision 0002).
//!
//! It decides *what* to do next with the two connections that take turns as the hold, and with the checkpointer;
//! [`Tail`](crate::Tail) does it and reports back. One event in, the next actions out; no I/O, no clock. The order of
//! its actions keeps the one rule: **begin the new hold, copy, only then end the old one.** Under the barrier the
//! barrier's own transaction is the hold in between.
//!
//! ```text
//! Rest ──tick──▶ BeginSpare ─▶ Copy ─▶ EndHold ─▶ Rest            (hand-over)
//!                                       └─due──▶ Checkpoint ─full─▶ hand-over ─▶ Rest
//!                                                    └─few left─▶ TakeBarrier ─▶ Copy ─▶ DropHold
//!                                                                 ─▶ Checkpoint ─▶ Retake ─▶ Release ─▶ Rest
//! ```

/// First and longest pause after a checkpoint that a foreign reader kept from completing: most readers are gone in no
/// time, a report or a backup may stay for hours.
const BACK_OFF_NS: (u64, u64) = (50_000_000, 30_000_000_000);
/// Pause after the writer outran us or kept the write lock; nobody is to blame, so it does not grow.
const OUTRUN_NS: u64 = 5_000_000;
/// How often the frames put up with under the barrier are doubled for a writer that outruns us.
const MOST_BURSTS: u32 = 2;
/// Unlocked checkpoints in a row before giving up on a writer that outruns them.
const ROUNDS: u32 = 3;

/// Frame counts that decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) checkpoint_frames: u32,
    pub(crate) barrier_max_frames: u32,
    pub(crate) idle_ns: u64,
}

/// What the wal-index said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) salts: (u32, u32),
    pub(crate) mx_frame: u32,
    pub(crate) n_backfill: u32,
}

impl Facts {
    fn behind(&self) -> u32 {
        self.mx_frame.saturating_sub(self.n_backfill)
    }
    fn complete(&self) -> bool {
        self.n_backfill == self.mx_frame
    }
    fn same_state(&self, other: &Self) -> bool {
        self.salts == other.salts && self.mx_frame == other.mx_frame
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time to look after things; `force` asks for a checkpoint whatever the limits say.
    Tick { now: Facts, force: bool },
    /// `BeginSpare` or `Retake` done; the index before and after.
    Begun { before: Facts, after: Facts },
    /// `Copy` done, everything up to this.
    Copied(Facts),
    /// `EndHold` or `DropHold` done.
    Ended,
    /// `Checkpoint` done; the index afterwards.
    Checkpointed { now: Facts, busy: bool },
    /// `TakeBarrier` done: nothing can be appended now.
    BarrierTaken(Facts),
    /// `TakeBarrier` failed: a writer was busy.
    BarrierBusy,
    /// `Release` done.
    Released,
    /// An action failed and the driver has cleaned up: one hold, no barrier.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open a read transaction on the spare connection.
    BeginSpare,
    /// Copy everything published.
    Copy,
    /// End the hold; the spare becomes the hold.
    EndHold,
    /// PASSIVE on the third connection.
    Checkpoint,
    /// Take the write lock on the spare connection. Impatiently if a checkpointer of the application may hold it: in
    /// FULL, RESTART and TRUNCATE he waits for *us*.
    TakeBarrier { patient: bool },
    /// End the hold while the barrier's transaction holds.
    DropHold,
    /// Open the hold again under the barrier.
    Retake,
    /// End the barrier.
    Release,
}

/// What a hand-over is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Rest,
    Checkpoint { round: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Rest,
    HandOver(Then),
    Checkpoint { round: u32 },
    Barrier,
    UnderBarrier { complete: bool },
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    /// The index before it began: SQLite's mark is at this frame or a later one.
    before: Facts,
    /// The index after it began: SQLite's mark is at this frame or an earlier one.
    facts: Facts,
    /// The WAL was fully backfilled when it began, so it is READ_LOCK(0), which is in nobody's way.
    rested: bool,
}

#[derive(Debug)]
pub(crate) struct Protocol {
    limits: Limits,
    phase: Phase,
    hold: Hold,
    incoming: Hold,
    seen: Facts,
    changed_ns: u64,
    retry_ns: u64,
    /// Where a foreign mark stopped the last checkpoint.
    stuck_at: Option<((u32, u32), u32)>,
    /// Barriers released in a row because too much had come in meanwhile, plus one.
    bursts: u32,
    /// The generation that was last backfilled completely.
    completed: Option<(u32, u32)>,
    back_off_ns: u64,
}

impl Protocol {
    /// The first hold was begun between `before` and `after`.
    pub(crate) fn new(limits: Limits, before: Facts, after: Facts, now_ns: u64) -> Self {
        let hold = Hold::between(before, after);
        Self {
            limits,
            phase: Phase::Rest,
            hold,
            incoming: hold,
            seen: after,
            changed_ns: now_ns,
            retry_ns: 0,
            stuck_at: None,
            bursts: 1,
            completed: None,
            back_off_ns: BACK_OFF_NS.0,
        }
    }

    /// Ns until a tick would checkpoint although nothing changes; `None` if nothing is due.
    pub(crate) fn due_in(&self, now: &Facts, now_ns: u64) -> Option<u64> {
        if now.behind() == 0 {
            return None;
        }
        // By `mxFrame`, not by what is left to backfill: beyond 1,000 frames the application's own hook backfills after
        // every commit, up to our mark, and never gets done (trap 9).
        let enough = now.mx_frame >= self.limits.checkpoint_frames;
        let due = if enough { now_ns } else { self.changed_ns.saturating_add(self.limits.idle_ns) };
        Some(due.max(self.retry_ns).saturating_sub(now_ns))
    }

    pub(crate) fn step(&mut self, event: Event, now_ns: u64) -> Vec<Action> {
        match (self.phase, event) {
            (Phase::Rest, Event::Tick { now, force }) => self.tick(now, force, now_ns),

            (Phase::HandOver(_), Event::Begun { before, after }) => {
                self.incoming = Hold::between(before, after);
                vec![Action::Copy]
            }
            (Phase::HandOver(_), Event::Copied(_)) => vec![Action::EndHold],
            (Phase::HandOver(then), Event::Ended) => {
                self.hold = self.incoming;
                match then {
                    Then::Rest => self.rest(),
                    Then::Checkpoint { round } => {
                        self.phase = Phase::Checkpoint { round };
                        vec![Action::Checkpoint]
                    }
                }
            }

            (Phase::Checkpoint { round }, Event::Checkpointed { now, busy }) => {
                self.checkpointed(round, now, busy, now_ns)
            }

            (Phase::Barrier, Event::BarrierBusy) => {
                self.retry_ns = now_ns + OUTRUN_NS;
                self.rest()
            }
            (Phase::Barrier, Event::BarrierTaken(now)) => {
                self.phase = Phase::UnderBarrier { complete: false };
                if now.behind() > self.limits.barrier_max_frames << self.bursts {
                    // A burst came in while we asked for the lock: too much to do under it. Next time a bit more is
                    // put up with, because a WAL that never restarts costs the application more (trap 9).
                    self.bursts = (self.bursts + 1).min(MOST_BURSTS);
                    return vec![Action::Release];
                }
                self.bursts = 1;
                vec![Action::Copy]
            }
            (Phase::UnderBarrier { .. }, Event::Copied(_)) => vec![Action::DropHold],
            (Phase::UnderBarrier { .. }, Event::Ended) => vec![Action::Checkpoint],
            (Phase::UnderBarrier { .. }, Event::Checkpointed { now, busy }) => {
                let complete = now.complete() && !busy;
                if complete {
                    self.complete(now, now_ns);
                }
                self.phase = Phase::UnderBarrier { complete };
                vec![Action::Retake]
            }
            (Phase::UnderBarrier { .. }, Event::Begun { before, after }) => {
                self.hold = Hold::between(before, after);
                vec![Action::Release]
            }
            (Phase::UnderBarrier { complete }, Event::Released) => {
                if !complete {
                    self.retry_ns = now_ns + OUTRUN_NS;
                }
                self.rest()
            }

            (_, Event::Failed) => {
                self.back_off(now_ns);
                self.rest()
            }
            (phase, event) => {
                debug_assert!(false, "{event:?} in {phase:?}");
                self.rest()
            }
        }
    }

    fn tick(&mut self, now: Facts, force: bool, now_ns: u64) -> Vec<Action> {
        if !now.same_state(&self.seen) {
            self.seen = now;
            self.changed_ns = now_ns;
        }
        let due = force || self.due_in(&now, now_ns) == Some(0);
        // A hold begun while the index moved may be one state older than it seems: on READ_LOCK(0) of a WAL that was
        // restarted in that moment it would keep everybody from backfilling.
        let stale = !now.same_state(&self.hold.facts)
            || !now.same_state(&self.hold.before)
            || (now.complete() && !self.hold.rested);
        if !due && !stale {
            return Vec::new();
        }
        self.phase = Phase::HandOver(if due { Then::Checkpoint { round: 1 } } else { Then::Rest });
        vec![Action::BeginSpare]
    }

    fn checkpointed(&mut self, round: u32, now: Facts, busy: bool, now_ns: u64) -> Vec<Action> {
        if now.complete() {
            self.complete(now, now_ns);
            self.phase = Phase::HandOver(Then::Rest);
            return vec![Action::BeginSpare];
        }
        let ours = self.hold.before;
        let foreign_mark = !busy && now.salts == ours.salts && now.n_backfill < ours.mx_frame;
        if foreign_mark {
            // Somebody's mark is older than ours: the barrier would be of no use. Mostly it is a writer between
            // publishing and unlocking; only a mark that stays is worth a longer pause.
            if self.stuck_at == Some((now.salts, now.n_backfill)) {
                self.back_off(now_ns);
            } else {
                self.succeed();
                self.retry_ns = now_ns + OUTRUN_NS;
                self.stuck_at = Some((now.salts, now.n_backfill));
            }
            return self.rest();
        }
        // Only our own mark stopped it (what lies behind was appended since our hand-over), or the application's
        // checkpointer is at work, which stops when its writer does.
        if now.behind() <= self.limits.barrier_max_frames {
            self.phase = Phase::Barrier;
            return vec![Action::TakeBarrier { patient: !busy }];
        }
        if !busy && round < ROUNDS {
            self.phase = Phase::HandOver(Then::Checkpoint { round: round + 1 });
            return vec![Action::BeginSpare];
        }
        self.retry_ns = now_ns + OUTRUN_NS;
        self.rest()
    }

    fn rest(&mut self) -> Vec<Action> {
        self.phase = Phase::Rest;
        Vec::new()
    }

    /// Everything is backfilled. If that was so before in this generation, readers keep the WAL from restarting, and
    /// doing it again after every commit would be in vain (Litestream's feedback loop).
    fn complete(&mut self, now: Facts, now_ns: u64) {
        if self.completed == Some(now.salts) {
            self.back_off(now_ns);
        } else {
            self.succeed();
            self.completed = Some(now.salts);
        }
    }

    fn succeed(&mut self) {
        self.retry_ns = 0;
        self.stuck_at = None;
        self.back_off_ns = BACK_OFF_NS.0;
    }

    fn back_off(&mut self, now_ns: u64) {
        self.retry_ns = now_ns + self.back_off_ns;
        self.back_off_ns = (self.back_off_ns * 2).min(BACK_OFF_NS.1);
    }
}

impl Hold {
    fn between(before: Facts, after: Facts) -> Self {
        Self {
            before,
            facts: after,
            rested: before.complete() && after.complete() && before.same_state(&after),
        }
    }
}

#[cfg(test)]
mod tests;
