//! The hold and the checkpoints as a pure state machine (decision 0002).
//!
//! It decides *what* to do next with the lock that is the hold, with the checkpointer and with the write barrier;
//! [`Tail`](crate::Tail) does it and reports back. One event in, the next actions out; no I/O, no clock. The order of
//! its actions keeps the one rule: **the next lock is taken before the last one is released, and the pin is released
//! only if, under both locks, everything is copied and backfilled.**
//!
//! ```text
//! on a pin:  tick ──complete──▶ Copy ─▶ LockZero ─▶ LeavePin                      (or LeaveZero: not complete any more)
//!                 └─due──▶ Checkpoint ─┬─complete─▶ Copy ─▶ LockZero …
//!                                      └─few left─▶ Copy ─▶ TakeBarrier ─▶ Checkpoint ─▶ Copy ─▶ LockZero … ─▶ Release
//!                 └─soon─▶ Brake …… paused ─▶ Unbrake
//! on 0:      tick ──news──▶ Pin [─▶ Raise ─▶ Pin] ─▶ LetGo
//! ```

mod due;
mod pauses;
mod place;
mod words;

use pauses::Pauses;
use place::Hold;
pub(crate) use place::preference;
pub(crate) use words::{Action, Event, Facts, Limits, Then};

/// How often the frames put up with under the barrier are doubled for a writer that outruns us.
const MOST_BURSTS: u32 = 2;
/// Unlocked checkpoints in a row before giving up on a writer that outruns them, below and above the WAL's limit.
const ROUNDS: (u32, u32) = (3, 10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Rest,
    Pin { raised: bool },
    LetGo { mark: u32 },
    Leave { to: Hold },
    Checkpoint { round: u32 },
    CopyForZero,
    Zero { copied: Facts },
    CopyForBarrier { patient: bool },
    Barrier,
    Release,
    Brake,
}

#[derive(Debug)]
pub(crate) struct Protocol {
    limits: Limits,
    phase: Phase,
    hold: Hold,
    then: Then,
    under_barrier: bool,
    seen: Facts,
    changed_ns: u64,
    pauses: Pauses,
    /// Barriers released in a row because too much had come in meanwhile, plus one.
    bursts: u32,
    /// When the last checkpoint was completed and the WAL could restart.
    completed_ns: Option<u64>,
    /// The last one was for a writer that did not pause: the next one will be.
    steady: bool,
    braked: bool,
    /// Frames and ns of the last checkpoint that copied anything, syncs included.
    pace: Option<(u32, u64)>,
}

impl Protocol {
    /// The first hold is a pin on a slot with this mark.
    pub(crate) fn new(limits: Limits, mark: u32, now: Facts, now_ns: u64) -> Self {
        Self {
            limits,
            phase: Phase::Rest,
            hold: Hold::Pin { mark },
            then: Then::Copy,
            under_barrier: false,
            seen: now,
            changed_ns: now_ns,
            pauses: Pauses::new(),
            bursts: 1,
            completed_ns: None,
            steady: false,
            braked: false,
            pace: None,
        }
    }

    pub(crate) fn step(&mut self, event: Event, now_ns: u64) -> Vec<Action> {
        match (self.phase, event) {
            (Phase::Rest, Event::Tick { now, then }) => self.look(now, then, now_ns),

            (Phase::Pin { raised }, Event::Pinned { mark, now }) => {
                let good = mark.is_some_and(|mark| mark >= now.mx_frame);
                match mark {
                    _ if !good && !raised => self.go(Phase::Pin { raised: true }, Action::Raise),
                    // Readers of the application have all the slots: a low mark is still a hold.
                    Some(mark) => self.go(Phase::LetGo { mark }, Action::LetGo),
                    None => self.decide(now, now_ns),
                }
            }
            (Phase::Pin { .. }, Event::Raised) => vec![Action::Pin],

            (Phase::Checkpoint { round }, Event::Checkpointed { before, now, busy, took_ns }) => {
                self.measure(&before, &now, took_ns);
                if self.under_barrier {
                    return self.completed_under_barrier(now, busy, now_ns);
                }
                self.checkpointed(round, before, now, busy, now_ns)
            }

            (Phase::CopyForZero, Event::Copied(copied)) => self.go(Phase::Zero { copied }, Action::LockZero),
            (Phase::Zero { copied }, Event::ZeroLocked(found)) => match found {
                Some(at) if at.complete() && at.same_state(&copied) => {
                    self.go(Phase::Leave { to: Hold::Zero { at } }, Action::LeavePin)
                }
                Some(_) => self.go(Phase::Leave { to: self.hold }, Action::LeaveZero),
                None => self.rest_or_release(),
            },
            (Phase::LetGo { mark }, Event::Left) => {
                self.hold = Hold::Pin { mark };
                self.decide(self.seen, now_ns)
            }
            (Phase::Leave { to }, Event::Left) => {
                if let Hold::Zero { at } = to {
                    self.completed_ns = Some(now_ns);
                    self.judge(&at, now_ns);
                }
                self.hold = to;
                self.rest_or_release()
            }

            (Phase::CopyForBarrier { patient }, Event::Copied(_)) => {
                self.go(Phase::Barrier, Action::TakeBarrier { patient })
            }
            (Phase::Barrier, Event::BarrierBusy) => {
                self.pauses.outrun(now_ns);
                self.rest_or_release()
            }
            (Phase::Barrier, Event::BarrierTaken(now)) => self.barrier_taken(now, now_ns),
            (Phase::Release, Event::Released) => {
                self.under_barrier = false;
                if matches!(self.hold, Hold::Pin { .. }) {
                    self.pauses.outrun(now_ns);
                }
                self.rest_or_release()
            }

            (Phase::Brake, Event::Braked) => self.rest_or_release(),

            (_, Event::Failed) => {
                (self.under_barrier, self.braked) = (false, false);
                self.pauses.back_off(now_ns);
                self.rest_or_release()
            }
            (phase, event) => {
                debug_assert!(false, "{event:?} in {phase:?}");
                self.rest_or_release()
            }
        }
    }

    fn look(&mut self, now: Facts, then: Then, now_ns: u64) -> Vec<Action> {
        if !now.same_state(&self.seen) {
            // Nobody ticks while the WAL rests: what comes only now is no steady writer's.
            self.steady &= matches!(self.hold, Hold::Pin { .. }) || !self.is_calm(now_ns);
            self.changed_ns = now_ns;
            self.pauses.news();
        }
        self.seen = now;
        self.then = then;
        if self.hold.is_in_the_way(&now) {
            self.pauses.settle(now_ns);
            if !self.hold.is_a_good_pin(&now) {
                return self.go(Phase::Pin { raised: false }, Action::Pin);
            }
        }
        self.decide(now, now_ns)
    }

    /// What to do with a hold that is as good as it gets.
    fn decide(&mut self, now: Facts, now_ns: u64) -> Vec<Action> {
        let due = self.checkpoint_due(&now, now_ns);
        let is_due = self.then == Then::Checkpoint || due.is_some_and(|due| due <= now_ns);
        if self.then != Then::Copy && is_due {
            return self.go(Phase::Checkpoint { round: 1 }, Action::Checkpoint);
        }
        // From 1,000 frames on the application's hook would backfill, and sync twice, after every commit (trap 9). A FULL or RESTART
        // waits for the brake, but with the write lock: then nothing comes in, and the brake goes and is not taken again.
        let pinned = matches!(self.hold, Hold::Pin { .. });
        let calm = self.is_calm(now_ns);
        self.steady &= !calm;
        let horizon = now_ns.saturating_add(self.limits.cycle_ns);
        let soon = now.mx_frame >= self.limits.checkpoint_frames && due.is_some_and(|due| due <= horizon);
        // Not beside a reader that keeps the WAL: when he leaves, the hook is let through before our next attempt. A WAL that was
        // restarted and has no commit yet has the best of all marks.
        let early =
            self.steady && (now.behind() > 0 || now.mx_frame == 0) && self.pauses.checkpoint_ns <= horizon;
        if pinned && !calm && (soon || early) {
            return self.go(Phase::Brake, Action::Brake);
        }
        if self.then == Then::Copy {
            return self.rest_or_release();
        }
        if self.braked && calm {
            return self.go(Phase::Brake, Action::Unbrake);
        }
        if pinned && now.complete() {
            return self.go(Phase::CopyForZero, Action::Copy);
        }
        self.rest_or_release()
    }

    fn checkpointed(
        &mut self,
        round: u32,
        before: Facts,
        now: Facts,
        busy: bool,
        now_ns: u64,
    ) -> Vec<Action> {
        if now.complete() {
            self.pauses.complete(&now, now_ns);
        }
        match self.hold {
            // Our own lock kept us from backfilling what came in just now: the next tick takes a pin.
            Hold::Zero { .. } => return self.rest_or_release(),
            Hold::Pin { .. } if now.complete() => return self.go(Phase::CopyForZero, Action::Copy),
            Hold::Pin { .. } => {}
        }
        if !busy && now.salts == before.salts && now.n_backfill < before.mx_frame {
            // A reader's mark or lock is in the way: the barrier would be of no use.
            self.pauses.stuck(&now, now_ns);
            return self.rest_or_release();
        }
        // What lies behind was appended meanwhile, or the application's checkpointer is at work, which stops when
        // its writer does.
        if now.behind() <= self.limits.barrier_max_frames || self.fits_under_barrier(&now) {
            return self.go(Phase::CopyForBarrier { patient: !busy }, Action::Copy);
        }
        let rounds = if now.mx_frame < self.limits.wal_max_frames { ROUNDS.0 } else { ROUNDS.1 };
        if !busy && round < rounds {
            return self.go(Phase::Checkpoint { round: round + 1 }, Action::Checkpoint);
        }
        self.pauses.outrun(now_ns);
        if busy || self.is_calm(now_ns) {
            return self.rest_or_release();
        }
        self.go(Phase::Brake, Action::Brake)
    }

    fn barrier_taken(&mut self, now: Facts, now_ns: u64) -> Vec<Action> {
        self.under_barrier = true;
        if now.behind() > self.limits.barrier_max_frames << self.bursts && !self.fits_under_barrier(&now) {
            // A burst came in while we asked for the lock: too much to do under it. Next time a bit more is
            // put up with, because a WAL that never restarts costs the application more (trap 9).
            self.bursts = (self.bursts + 1).min(MOST_BURSTS);
            return self.rest_or_release();
        }
        self.bursts = 1;
        if now.complete() {
            return self.completed_under_barrier(now, false, now_ns);
        }
        self.go(Phase::Checkpoint { round: 1 }, Action::Checkpoint)
    }

    fn completed_under_barrier(&mut self, now: Facts, busy: bool, now_ns: u64) -> Vec<Action> {
        if busy || !now.complete() {
            return self.rest_or_release();
        }
        self.pauses.complete(&now, now_ns);
        self.go(Phase::CopyForZero, Action::Copy)
    }

    fn go(&mut self, phase: Phase, action: Action) -> Vec<Action> {
        self.phase = phase;
        match action {
            Action::Brake => self.braked = true,
            // What these need, or do anyway.
            Action::Unbrake | Action::Pin | Action::LockZero | Action::Checkpoint => self.braked = false,
            _ => {}
        }
        vec![action]
    }

    fn rest_or_release(&mut self) -> Vec<Action> {
        if self.under_barrier {
            return self.go(Phase::Release, Action::Release);
        }
        self.phase = Phase::Rest;
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
