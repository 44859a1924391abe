//! SQLite's WAL locks as `wal.c` has them: four slots with marks, READ_LOCK(0), the write lock, and checkpointers that
//! read a mark first and wait for its slot afterwards. Frames are numbers that only grow.

use super::super::{Facts, preference};

pub(super) const UNUSED: u32 = u32::MAX;

/// How to play the driver wrongly, to see that the model notices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mutation {
    None,
    /// The last lock is released before the copy.
    LeaveBeforeCopy,
    /// The slot with the lowest mark is taken instead of the best.
    LowMark,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    Full,
    Restart,
    Truncate,
}

/// Where a checkpointer that waits has got to.
#[derive(Debug, Clone, Copy)]
enum Stage {
    ReadMark { slot: usize },
    LockSlot { slot: usize },
    LockZero,
    LockAll,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    mode: Mode,
    stage: Stage,
    safe: u32,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) generation: u32,
    /// Frames of this generation, as global numbers.
    pub(super) frames: Vec<u64>,
    pub(super) backfill: u32,
    marks: [u32; 4],
    pub(super) next: u64,
    /// READ_LOCK(0..4) of the application's readers, as 0 to 4; the last one is our barrier's.
    pub(super) readers: [Option<usize>; 4],
    /// Our locks: slots 1 to 4, and READ_LOCK(0).
    pub(super) pin: Option<usize>,
    pub(super) coming: Option<usize>,
    pub(super) zero: bool,
    pub(super) barrier: bool,
    pub(super) writer: bool,
    /// Our slot with an old mark.
    pub(super) brake: Option<usize>,
    pub(super) waiting: Option<Waiting>,
    /// No unused slot was to be had when the pin was chosen.
    excused: bool,
    pub(super) copied: u64,
    position: (u32, u32),
    pub(super) mutation: Mutation,
}

pub(super) const BARRIER: usize = 3;

impl Model {
    pub(super) fn new(mutation: Mutation) -> Self {
        let mut model = Self {
            generation: 1,
            frames: Vec::new(),
            backfill: 0,
            marks: [0, UNUSED, UNUSED, UNUSED],
            next: 1,
            readers: [None; 4],
            pin: None,
            coming: None,
            zero: false,
            barrier: false,
            writer: false,
            brake: None,
            waiting: None,
            excused: false,
            copied: 0,
            position: (1, 0),
            mutation,
        };
        model.take_pin();
        model.let_go();
        model
    }

    pub(super) fn mx(&self) -> u32 {
        self.frames.len() as u32
    }

    pub(super) fn facts(&self) -> Facts {
        Facts { salts: (self.generation, 7), mx_frame: self.mx(), n_backfill: self.backfill }
    }

    pub(super) fn mark(&self) -> u32 {
        self.pin.map_or(UNUSED, |slot| self.marks[slot - 1])
    }

    fn ours(&self, slot: usize) -> bool {
        [self.pin, self.coming, self.brake].contains(&Some(slot)) || (slot == 0 && self.zero)
    }

    fn theirs(&self, slot: usize) -> bool {
        self.readers.contains(&Some(slot))
    }

    fn free(&self, slot: usize) -> bool {
        !self.ours(slot) && !self.theirs(slot)
    }

    /// `walTryBeginRead`.
    pub(super) fn begin(&mut self, reader: usize) {
        assert_eq!(self.readers[reader], None);
        if self.backfill == self.mx() {
            self.readers[reader] = Some(0);
            return;
        }
        let mx = self.mx();
        let best = (1..=4).filter(|slot| self.marks[slot - 1] <= mx).max_by_key(|slot| self.marks[slot - 1]);
        if best.is_none_or(|slot| self.marks[slot - 1] < mx)
            && let Some(slot) = (1..=4).find(|slot| self.free(*slot))
        {
            self.marks[slot - 1] = mx;
            self.readers[reader] = Some(slot);
        } else {
            self.readers[reader] = best;
        }
    }

    /// `walRestartHdr`, with all slots locked.
    fn restart(&mut self) {
        assert_eq!(self.backfill, self.mx());
        if self.position.0 == self.generation {
            assert_eq!(self.position.1, self.mx(), "frames are overwritten before they were copied");
        } else {
            assert_eq!(self.mx(), 0, "a whole generation went by uncopied");
        }
        self.generation += 1;
        self.frames.clear();
        self.backfill = 0;
        self.marks = [0, UNUSED, UNUSED, UNUSED];
    }

    pub(super) fn can_restart(&self) -> bool {
        self.backfill == self.mx() && (1..=4).all(|slot| self.free(slot))
    }

    fn write_lock_is_free(&self) -> bool {
        !self.barrier && !self.writer && self.waiting.is_none()
    }

    pub(super) fn commit(&mut self, frames: u8) {
        if !self.write_lock_is_free() {
            return;
        }
        if self.mx() > 0 && self.can_restart() {
            self.restart();
        }
        for _ in 0..frames {
            self.frames.push(self.next);
            self.next += 1;
        }
    }

    /// PASSIVE, ours or theirs; `false` if the checkpoint lock is taken.
    pub(super) fn passive(&mut self) -> bool {
        if self.waiting.is_some() {
            return false;
        }
        let mut safe = self.mx();
        for slot in 1..=4 {
            let mark = self.marks[slot - 1];
            if safe <= mark {
            } else if self.free(slot) {
                self.marks[slot - 1] = if slot == 1 { safe } else { UNUSED };
            } else {
                safe = mark;
            }
        }
        if safe > self.backfill && self.free(0) {
            self.backfill = safe;
        }
        true
    }

    pub(super) fn checkpoint_and_wait(&mut self, mode: Mode) {
        if self.write_lock_is_free() {
            let stage = if self.backfill < self.mx() { Stage::ReadMark { slot: 1 } } else { Stage::LockAll };
            self.waiting = Some(Waiting { mode, stage, safe: self.mx() });
        }
    }

    /// One step of the waiting checkpointer. P5: it never waits for a slot only because of us.
    pub(super) fn advance(&mut self) {
        let Some(mut at) = self.waiting else { return };
        at.stage = match at.stage {
            Stage::ReadMark { slot: 5 } => Stage::LockZero,
            Stage::ReadMark { slot } if at.safe > self.marks[slot - 1] => Stage::LockSlot { slot },
            Stage::ReadMark { slot } => Stage::ReadMark { slot: slot + 1 },
            Stage::LockSlot { slot } if self.free(slot) => {
                self.marks[slot - 1] = if slot == 1 { at.safe } else { UNUSED };
                Stage::ReadMark { slot: slot + 1 }
            }
            Stage::LockSlot { slot } => {
                let braked = self.brake == Some(slot);
                let because_of_us = self.ours(slot) && !self.theirs(slot) && !self.excused && !braked;
                assert!(!because_of_us, "P5: a checkpointer waits for a slot of ours");
                Stage::LockSlot { slot }
            }
            Stage::LockZero if self.free(0) => {
                self.backfill = self.backfill.max(at.safe);
                Stage::LockAll
            }
            Stage::LockZero => Stage::LockZero,
            Stage::LockAll if at.mode == Mode::Full || self.backfill < self.mx() => {
                self.waiting = None;
                return;
            }
            Stage::LockAll if self.can_restart() => {
                self.waiting = None;
                if at.mode == Mode::Truncate {
                    self.restart();
                }
                return;
            }
            Stage::LockAll => Stage::LockAll,
        };
        self.waiting = Some(at);
    }

    /// The busy timeout of a checkpointer that a reader of the application keeps waiting.
    pub(super) fn give_up(&mut self) {
        self.waiting = None;
    }

    pub(super) fn recover(&mut self) {
        self.backfill = 0;
        for slot in 1..=4 {
            if self.free(slot) {
                self.marks[slot - 1] = if slot == 1 && self.mx() > 0 { self.mx() } else { UNUSED };
            }
        }
    }

    /// As `hold.rs` does it.
    pub(super) fn take_brake(&mut self) {
        let mut slots = preference(self.marks).map(|slot| slot + 1).into_iter().rev();
        let pinned = [self.pin, self.coming];
        self.brake = self.brake.or_else(|| slots.find(|slot| !pinned.contains(&Some(*slot))));
    }

    /// As `hold.rs` does it.
    pub(super) fn take_pin(&mut self) -> Option<u32> {
        self.brake = None;
        let mut order = preference(self.marks);
        if self.mutation == Mutation::LowMark {
            order.reverse();
        }
        let held = self.pin.map(|slot| (slot, self.marks[slot - 1]));
        let unused = |model: &Self| (1..=4).any(|slot| model.free(slot) && model.marks[slot - 1] == UNUSED);
        let excused = !unused(self);
        let slot = order
            .map(|slot| slot + 1)
            .into_iter()
            .find(|slot| held.is_none_or(|(other, mark)| other != *slot && mark < self.marks[slot - 1]))?;
        self.excused = excused;
        self.coming = Some(slot);
        Some(self.marks[slot - 1])
    }

    pub(super) fn let_go(&mut self) {
        self.pin = self.coming.take();
        self.zero = false;
    }

    pub(super) fn copy(&mut self) {
        if self.mutation == Mutation::LeaveBeforeCopy {
            (self.zero, self.pin) = (true, None);
            self.advance();
            self.commit(1);
        }
        if self.position.0 != self.generation {
            self.position = (self.generation, 0);
        }
        for frame in &self.frames[self.position.1 as usize..] {
            assert_eq!(*frame, self.copied + 1, "in order, none twice, none skipped");
            self.copied = *frame;
        }
        self.position.1 = self.frames.len() as u32;
    }

    pub(super) fn held(&self) -> bool {
        self.pin.is_some() || self.zero
    }
}
