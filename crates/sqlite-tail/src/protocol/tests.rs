//! A model of SQLite's WAL locks, driven by the protocol and by an application that does anything it may.
//!
//! The model follows `wal.c`: read marks and READ_LOCK(0), backfill limited by marks, restart by a writer on
//! READ_LOCK(0) or by RESTART/TRUNCATE, and the write lock. Frames are numbers that only grow; the content of the
//! database is the number of the last frame. Between any two actions of ours the application moves. Invariants:
//! every frame is copied exactly once and in order, none is overwritten before, the hold is never empty, a snapshot
//! never changes under a hold, and the protocol comes to rest and makes progress.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Lock {
    /// 0: READ_LOCK(0); otherwise a mark at this frame count.
    mark: Option<u32>,
}

#[derive(Debug)]
struct Model {
    generation: u32,
    /// Frames of this generation, as global numbers.
    frames: Vec<u64>,
    backfill: u32,
    /// Frames in the database file.
    file: u64,
    next: u64,
    /// Our two connections, then the application's readers.
    readers: Vec<Option<Lock>>,
    barrier: Option<usize>,
    writer: bool,
    /// Another checkpointer holds the checkpoint lock now and then.
    contended: bool,
    recovered: bool,
    /// What was copied.
    copied: u64,
    position: (u32, u32),
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Commit(u8),
    Passive,
    Full,
    Restart,
    Truncate,
    ReaderBegins(u8),
    ReaderEnds(u8),
    OpenWrite,
    EndWrite,
    Recover,
    Nothing,
}

impl Model {
    fn new() -> Self {
        Self {
            generation: 1,
            frames: Vec::new(),
            backfill: 0,
            file: 0,
            next: 1,
            readers: vec![None; 5],
            barrier: None,
            writer: false,
            contended: false,
            recovered: false,
            copied: 0,
            position: (1, 0),
        }
    }

    fn mx(&self) -> u32 {
        self.frames.len() as u32
    }

    fn facts(&self) -> Facts {
        Facts { salts: (self.generation, 7), mx_frame: self.mx(), n_backfill: self.backfill }
    }

    fn begin(&mut self, reader: usize) {
        assert!(self.readers[reader].is_none());
        let mark = if self.backfill == self.mx() { None } else { Some(self.mx()) };
        self.readers[reader] = Some(Lock { mark });
    }

    /// Restarting needs READ_LOCK(1..4) exclusively.
    fn can_restart(&self) -> bool {
        self.backfill == self.mx() && self.readers.iter().flatten().all(|lock| lock.mark.is_none())
    }

    fn restart(&mut self) {
        assert!(self.can_restart());
        let old = (self.generation, self.mx());
        if self.position.0 == self.generation {
            assert_eq!(self.position.1, self.mx(), "frames are overwritten before they were copied: {old:?}");
        } else {
            assert_eq!(self.mx(), 0, "a whole generation went by uncopied");
        }
        self.generation += 1;
        self.frames.clear();
        self.backfill = 0;
    }

    fn commit(&mut self, frames: u8) {
        if self.barrier.is_some() || self.writer {
            return;
        }
        // `walRestartLog`: only a writer whose snapshot is on READ_LOCK(0).
        if self.mx() > 0 && self.can_restart() {
            self.restart();
        }
        for _ in 0..frames {
            self.frames.push(self.next);
            self.next += 1;
        }
    }

    fn checkpoint(&mut self) {
        let safe = self.readers.iter().flatten().filter_map(|lock| lock.mark).fold(self.mx(), u32::min);
        // A mark below what is backfilled already hinders nothing; READ_LOCK(0) is needed exclusively.
        if safe > self.backfill && self.readers.iter().flatten().all(|lock| lock.mark.is_some()) {
            self.backfill = safe;
            self.file = self.frames[safe as usize - 1];
        }
    }

    fn app(&mut self, step: Move) {
        match step {
            Move::Commit(frames) => self.commit(frames),
            Move::Passive | Move::Full => self.checkpoint(),
            Move::Restart | Move::Truncate => {
                self.checkpoint();
                let locked = self.barrier.is_some() || self.writer;
                if matches!(step, Move::Truncate) && !locked && self.can_restart() {
                    self.restart();
                }
            }
            Move::ReaderBegins(at) => {
                let at = 2 + usize::from(at) % 3;
                if self.readers[at].is_none() {
                    self.begin(at);
                }
            }
            Move::ReaderEnds(at) => self.readers[2 + usize::from(at) % 3] = None,
            Move::OpenWrite => self.writer |= self.barrier.is_none(),
            Move::EndWrite => self.writer = false,
            // Recovery forgets what was backfilled.
            Move::Recover => {
                self.backfill = 0;
                self.recovered = true;
            }
            Move::Nothing => {}
        }
    }

    fn copy(&mut self) {
        if self.position.0 != self.generation {
            self.position = (self.generation, 0);
        }
        for frame in &self.frames[self.position.1 as usize..] {
            assert_eq!(*frame, self.copied + 1, "in order, none twice, none skipped");
            self.copied = *frame;
        }
        self.position.1 = self.frames.len() as u32;
    }

    fn held(&self) -> bool {
        self.readers[0].is_some() || self.readers[1].is_some()
    }
}

/// Lets the protocol run to rest, the application moving between all actions.
fn run(
    protocol: &mut Protocol,
    model: &mut Model,
    hold: &mut usize,
    now: u64,
    force: bool,
    moves: &mut impl Iterator<Item = Move>,
) {
    let mut event = Event::Tick { now: model.facts(), force };
    for _ in 0..60 {
        let actions = protocol.step(event, now);
        let Some(action) = actions.first() else {
            assert_eq!(protocol.phase, Phase::Rest);
            assert!(
                model.barrier.is_none() && model.readers[1 - *hold].is_none(),
                "one hold, no barrier, at rest"
            );
            return;
        };
        assert_eq!(actions.len(), 1);
        let spare = 1 - *hold;
        let mut stir = |model: &mut Model| model.app(moves.next().unwrap_or(Move::Nothing));
        stir(model);
        event = match action {
            Action::BeginSpare => {
                let before = model.facts();
                stir(model);
                model.begin(spare);
                stir(model);
                Event::Begun { before, after: model.facts() }
            }
            Action::Copy => {
                model.copy();
                Event::Copied(model.facts())
            }
            Action::EndHold => {
                model.readers[*hold] = None;
                *hold = spare;
                Event::Ended
            }
            Action::Checkpoint => {
                let busy = model.contended && model.next.is_multiple_of(5);
                if !busy {
                    model.checkpoint();
                }
                stir(model);
                Event::Checkpointed { now: model.facts(), busy }
            }
            Action::TakeBarrier { .. } if model.writer => Event::BarrierBusy,
            Action::TakeBarrier { .. } => {
                model.begin(spare);
                model.barrier = Some(spare);
                Event::BarrierTaken(model.facts())
            }
            Action::DropHold => {
                model.readers[*hold] = None;
                Event::Ended
            }
            Action::Retake => {
                let before = model.facts();
                model.begin(*hold);
                Event::Begun { before, after: model.facts() }
            }
            Action::Release => {
                model.readers[spare] = None;
                model.barrier = None;
                Event::Released
            }
        };
        assert!(model.held(), "the hold is never empty: {action:?}");
    }
    panic!("the protocol does not come to rest");
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (1u8..40).prop_map(Move::Commit),
        2 => Just(Move::Passive),
        1 => Just(Move::Full),
        1 => Just(Move::Restart),
        2 => Just(Move::Truncate),
        1 => any::<u8>().prop_map(Move::ReaderBegins),
        2 => any::<u8>().prop_map(Move::ReaderEnds),
        1 => Just(Move::OpenWrite),
        2 => Just(Move::EndWrite),
        1 => Just(Move::Recover),
        8 => Just(Move::Nothing),
    ]
}

const LIMITS: Limits = Limits { checkpoint_frames: 60, barrier_max_frames: 30, idle_ns: 10_000_000_000 };

fn started() -> (Protocol, Model) {
    let mut model = Model::new();
    let before = model.facts();
    model.begin(0);
    (Protocol::new(LIMITS, before, model.facts(), 0), model)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    /// P2: no interleaving of application and tail loses a frame or leaves the WAL unheld.
    #[test]
    fn p2_no_interleaving_loses_a_frame(
        moves in prop::collection::vec(any_move(), 50..400),
        crashes in prop::bool::weighted(0.2),
        ticks in prop::collection::vec((0u64..3_000, any::<bool>(), 0usize..4), 10..40),
    ) {
        let (mut protocol, mut model) = started();
        model.contended = true;
        let mut hold = 0;
        let mut moves = moves.into_iter().filter(|step| crashes || !matches!(step, Move::Recover));
        let mut now = 0;
        for (ms, force, steps) in ticks {
            now += ms * 1_000_000;
            for _ in 0..steps {
                let step = moves.next().unwrap_or(Move::Nothing);
                model.app(step);
            }
            run(&mut protocol, &mut model, &mut hold, now, force && ms % 7 == 0, &mut moves);
        }
        // The application calms down: everything gets copied, backfilled and out of the way.
        model.readers[2..].fill(None);
        model.writer = false;
        model.contended = false;
        // (A recovery in the very moment of a BEGIN can make us believe in READ_LOCK(0) wrongly; the next commit
        // clears that up.)
        if model.recovered {
            model.commit(1);
        }
        for _ in 0..4 {
            now += 41_000_000_000;
            run(&mut protocol, &mut model, &mut hold, now, false, &mut std::iter::empty());
        }
        prop_assert_eq!(model.copied, model.next - 1);
        prop_assert_eq!(model.backfill, model.mx());
        prop_assert!(model.can_restart(), "we rest on READ_LOCK(0)");
    }
}

/// P5: a busy writer is stopped by the barrier only for the last few frames.
#[test]
fn p5_the_barrier_is_for_the_last_frames_only() {
    let (mut protocol, mut model) = started();
    let mut hold = 0;
    model.commit(70);
    let mut moves = (0..).map(|_| Move::Commit(3));
    run(&mut protocol, &mut model, &mut hold, 1, false, &mut moves);
    assert_eq!(model.backfill, model.mx());
    assert!(model.can_restart());
    let mut flood = (0..).map(|_| Move::Commit(250));
    model.app(Move::Commit(70));
    run(&mut protocol, &mut model, &mut hold, 2, false, &mut flood);
    assert!(model.backfill < model.mx(), "given up for now");
    assert!(model.held());
}

/// Nothing to do means no action at all.
#[test]
fn rest_is_rest() {
    let (mut protocol, mut model) = started();
    let mut hold = 0;
    model.commit(5);
    run(&mut protocol, &mut model, &mut hold, 1, false, &mut std::iter::empty());
    for now in 2..50 {
        assert_eq!(protocol.step(Event::Tick { now: model.facts(), force: false }, now), Vec::new());
    }
    assert_eq!(protocol.due_in(&model.facts(), 2), Some(LIMITS.idle_ns - 1));
}

/// P5: the WAL restarts in the moment of our BEGIN, which is on READ_LOCK(0) of the old generation then and keeps
/// everybody from backfilling the new one, though the index after it looks as if we had a mark in it.
#[test]
fn p5_a_hold_begun_in_the_moment_of_a_restart_is_replaced() {
    let old = Facts { salts: (1, 7), mx_frame: 9, n_backfill: 9 };
    let new = Facts { salts: (2, 7), mx_frame: 3, n_backfill: 0 };
    let mut protocol = Protocol::new(LIMITS, old, new, 0);
    assert_eq!(protocol.step(Event::Tick { now: new, force: false }, 1), vec![Action::BeginSpare]);
    assert_eq!(protocol.step(Event::Begun { before: new, after: new }, 1), vec![Action::Copy]);
    assert_eq!(protocol.step(Event::Copied(new), 1), vec![Action::EndHold]);
    assert_eq!(protocol.step(Event::Ended, 1), Vec::new());
    assert_eq!(protocol.step(Event::Tick { now: new, force: false }, 2), Vec::new());
}
