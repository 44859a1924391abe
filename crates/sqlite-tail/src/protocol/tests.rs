//! The protocol against a [model] of SQLite's WAL locks, beside an application that does anything it may.
//!
//! Between any two actions of ours the application moves. Invariants: every frame is copied exactly once and in order,
//! none is overwritten before, the hold is never empty, no checkpointer ever waits for a slot because of us, and the
//! protocol comes to rest and gets out of everybody's way. Two planted mistakes show that the model has teeth.

mod model;

use super::*;
use model::{BARRIER, Mode, Model, Mutation};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Move {
    Commit(u8),
    Passive,
    Wait(Mode),
    Advance,
    GiveUp,
    ReaderBegins(u8),
    ReaderEnds(u8),
    OpenWrite,
    EndWrite,
    Recover,
    Nothing,
}

fn app(model: &mut Model, step: Move) {
    match step {
        Move::Commit(frames) => model.commit(frames),
        Move::Passive => drop(model.passive()),
        Move::Wait(mode) => model.checkpoint_and_wait(mode),
        Move::Advance => model.advance(),
        Move::GiveUp => model.give_up(),
        Move::ReaderBegins(at) => {
            let at = usize::from(at) % 3;
            if model.readers[at].is_none() {
                model.begin(at);
            }
        }
        Move::ReaderEnds(at) => model.readers[usize::from(at) % 3] = None,
        Move::OpenWrite => model.writer |= !model.barrier && model.waiting.is_none(),
        Move::EndWrite => model.writer = false,
        // Recovery needs the checkpoint lock.
        Move::Recover if model.waiting.is_none() && !model.barrier => model.recover(),
        Move::Recover | Move::Nothing => {}
    }
}

/// Lets the protocol run to rest, the application moving between all actions. Returns how many there were.
fn run(
    protocol: &mut Protocol,
    model: &mut Model,
    now_ns: u64,
    then: Then,
    moves: &mut impl Iterator<Item = Move>,
) -> u32 {
    let mut event = Event::Tick { now: model.facts(), then };
    for count in 0..80 {
        let actions = protocol.step(event, now_ns);
        let Some(action) = actions.first() else {
            assert_eq!(protocol.phase, Phase::Rest);
            assert!(!model.barrier && model.coming.is_none(), "no barrier, one pin at most, at rest");
            assert_eq!(model.zero, model.pin.is_none(), "one lock at rest");
            return count;
        };
        assert_eq!(actions.len(), 1);
        let mut stir = |model: &mut Model| app(model, moves.next().unwrap_or(Move::Nothing));
        stir(model);
        event = match action {
            Action::Pin => {
                let mark = model.take_pin();
                stir(model);
                Event::Pinned { mark, now: model.facts() }
            }
            Action::Raise => {
                model.coming = None;
                model.begin(BARRIER);
                model.readers[BARRIER] = None;
                Event::Raised
            }
            Action::LetGo => {
                model.let_go();
                Event::Left
            }
            Action::LockZero => {
                model.brake = None;
                model.zero = true;
                Event::ZeroLocked(Some(model.facts()))
            }
            Action::LeavePin => {
                model.pin = None;
                Event::Left
            }
            Action::LeaveZero => {
                model.zero = false;
                Event::Left
            }
            Action::Copy => {
                model.copy();
                Event::Copied(model.facts())
            }
            Action::Brake => {
                model.take_brake();
                Event::Braked
            }
            Action::Unbrake => {
                model.brake = None;
                Event::Braked
            }
            Action::Checkpoint => {
                model.brake = None;
                let before = model.facts();
                let busy = !model.passive();
                stir(model);
                Event::Checkpointed { before, now: model.facts(), busy, took_ns: 1_000_000 }
            }
            Action::TakeBarrier { .. } if model.writer || model.waiting.is_some() => Event::BarrierBusy,
            Action::TakeBarrier { .. } => {
                model.begin(BARRIER);
                model.barrier = true;
                Event::BarrierTaken(model.facts())
            }
            Action::Release => {
                model.readers[BARRIER] = None;
                model.barrier = false;
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
        1 => Just(Move::Wait(Mode::Full)),
        1 => Just(Move::Wait(Mode::Restart)),
        1 => Just(Move::Wait(Mode::Truncate)),
        12 => Just(Move::Advance),
        1 => Just(Move::GiveUp),
        2 => any::<u8>().prop_map(Move::ReaderBegins),
        3 => any::<u8>().prop_map(Move::ReaderEnds),
        1 => Just(Move::OpenWrite),
        2 => Just(Move::EndWrite),
        1 => Just(Move::Recover),
        6 => Just(Move::Nothing),
    ]
}

const LIMITS: Limits = Limits {
    checkpoint_frames: 60,
    barrier_max_frames: 30,
    wal_max_frames: 1_000,
    barrier_ns: 20_000_000,
    idle_ns: 10_000_000_000,
    cycle_ns: 250_000_000,
    cycle_frames: 480,
    calm_ns: 20_000_000,
};

fn started(mutation: Mutation) -> (Protocol, Model) {
    let model = Model::new(mutation);
    (Protocol::new(LIMITS, model.mark(), model.facts(), 0), model)
}

type Plan = (Vec<Move>, bool, Vec<(u64, u8, usize)>);

fn any_plan() -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec(any_move(), 50..400),
        prop::bool::weighted(0.2),
        prop::collection::vec((0u64..3_000, 0u8..10, 0usize..6), 10..40),
    )
}

fn play((moves, crashes, ticks): Plan, mutation: Mutation) {
    let (mut protocol, mut model) = started(mutation);
    let mut moves = moves.into_iter().filter(|step| crashes || !matches!(step, Move::Recover));
    let mut now = 0;
    for (ms, kind, steps) in ticks {
        now += ms * 1_000_000;
        for _ in 0..steps {
            app(&mut model, moves.next().unwrap_or(Move::Nothing));
        }
        let then = match kind {
            0 => Then::Checkpoint,
            1 | 2 => Then::Copy,
            _ => Then::Maintain,
        };
        run(&mut protocol, &mut model, now, then, &mut moves);
    }
    // The application calms down: everything gets copied, backfilled and out of the way, also of a checkpointer
    // that waits already, without its giving up.
    model.readers = [None; 4];
    model.writer = false;
    for _ in 0..10 {
        now += 41_000_000_000;
        for _ in 0..10 {
            model.advance();
        }
        run(&mut protocol, &mut model, now, Then::Maintain, &mut std::iter::empty());
    }
    assert!(model.waiting.is_none(), "P5: a checkpointer waits for us: {:?}", model.waiting);
    assert_eq!(model.copied, model.next - 1);
    assert_eq!(model.backfill, model.mx());
    assert!(model.can_restart(), "we rest on READ_LOCK(0)");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// P2, P5: no interleaving of application and tail loses a frame, leaves the WAL unheld or a checkpointer waiting.
    #[test]
    fn p2_p5_no_interleaving_loses_a_frame_or_keeps_a_checkpointer_waiting(plan in any_plan()) {
        play(plan, Mutation::None);
    }
}

/// The model notices when the last lock is released before what it protects is copied.
#[test]
#[should_panic(expected = "frames are overwritten before they were copied")]
fn the_model_notices_a_lock_released_before_the_copy() {
    let (mut protocol, mut model) = started(Mutation::LeaveBeforeCopy);
    model.commit(70);
    run(&mut protocol, &mut model, 1, Then::Maintain, &mut std::iter::empty());
}

/// The model notices when a slot is pinned that a checkpointer waits for.
#[test]
#[should_panic(expected = "P5: a checkpointer waits for a slot of ours")]
fn the_model_notices_a_pin_with_a_low_mark() {
    let (_, mut model) = started(Mutation::LowMark);
    model.commit(5);
    model.checkpoint_and_wait(Mode::Full);
    model.advance();
    model.advance();
}

/// P5: a busy writer is stopped by the barrier only for the last few frames.
#[test]
fn p5_the_barrier_is_for_the_last_frames_only() {
    let mut model = Model::new(Mutation::None);
    let limits = Limits { wal_max_frames: u32::MAX, cycle_ns: 0, ..LIMITS };
    let mut protocol = Protocol::new(limits, model.mark(), model.facts(), 0);
    model.commit(70);
    let mut moves = (0..).map(|_| Move::Commit(3));
    run(&mut protocol, &mut model, 1, Then::Maintain, &mut moves);
    assert_eq!(model.backfill, model.mx());
    assert!(model.can_restart());
    let mut flood = (0..).map(|_| Move::Commit(250));
    app(&mut model, Move::Commit(70));
    run(&mut protocol, &mut model, 2, Then::Maintain, &mut flood);
    assert!(model.backfill < model.mx(), "given up for now");
    assert!(model.held());
}

/// A writer that outruns every checkpoint: above the limit of the WAL the barrier is taken for as many frames as fit
/// into its time, and not for more.
#[test]
fn p5_above_its_limit_the_wal_is_cut_if_that_fits_into_the_barrier() {
    let at = |mx_frame, n_backfill| Facts { salts: (1, 7), mx_frame, n_backfill };
    for (took_ms, fits) in [(9, true), (15, false)] {
        let mut protocol = Protocol::new(LIMITS, u32::MAX, at(1_200, 0), 0);
        let tick = Event::Tick { now: at(1_200, 0), then: Then::Maintain };
        assert_eq!(protocol.step(tick, 1), vec![Action::Checkpoint]);
        let (before, now, took_ns) = (at(1_200, 900), at(1_700, 1_200), took_ms * 1_000_000);
        let slow = Event::Checkpointed { before, now, busy: false, took_ns };
        let next = protocol.step(slow, 1);
        // 500 frames at 300 in 9 ms take 15 ms, at 300 in 15 ms 25 ms.
        assert_eq!(next, vec![if fits { Action::Copy } else { Action::Checkpoint }]);
    }
}

/// P5: a writer that does not pause meets a checkpoint of ours four times a second, and its own hook has nothing
/// to do meanwhile; once it pauses, or the WAL is long, it is not put off.
#[test]
fn trap9_a_busy_writer_is_left_alone_between_two_checkpoints() {
    let ms = |ms: u64| ms * 1_000_000;
    let mut first = Model::new(Mutation::None);
    let mut protocol = Protocol::new(LIMITS, first.mark(), first.facts(), 0);
    first.commit(70);
    run(&mut protocol, &mut first, ms(1), Then::Maintain, &mut std::iter::empty());
    assert!(first.can_restart(), "the first checkpoint is not put off");
    first.commit(70);
    run(&mut protocol, &mut first, ms(5), Then::Maintain, &mut std::iter::empty());
    assert!(first.brake.is_some() && first.backfill == 0);
    first.commit(10);
    run(&mut protocol, &mut first, ms(10), Then::Maintain, &mut std::iter::empty());
    assert!(first.brake.is_some() && first.passive() && first.backfill <= 10, "the hook has nothing to do");
    assert_eq!(protocol.due_in(&first.facts(), ms(10)), Some(LIMITS.calm_ns));
    let busy = |protocol: &mut Protocol, model: &mut Model, at| {
        model.commit(1);
        run(protocol, model, at, Then::Maintain, &mut std::iter::empty());
        (model.brake.is_some(), model.can_restart())
    };
    for at in (15..250).step_by(5) {
        assert_eq!(busy(&mut protocol, &mut first, ms(at)), (true, false));
    }
    assert_eq!(busy(&mut protocol, &mut first, ms(251)), (false, true), "the pause is over");
    first.commit(70);
    run(&mut protocol, &mut first, ms(255), Then::Maintain, &mut std::iter::empty());
    assert!(first.brake.is_some());
    run(&mut protocol, &mut first, ms(275), Then::Maintain, &mut std::iter::empty());
    assert!(first.brake.is_none() && first.can_restart(), "the writer has paused");
    first.commit(250);
    run(&mut protocol, &mut first, ms(280), Then::Maintain, &mut std::iter::empty());
    first.commit(240);
    run(&mut protocol, &mut first, ms(285), Then::Maintain, &mut std::iter::empty());
    assert!(first.brake.is_none() && first.can_restart(), "the wal is long");
}

/// At 1 ms a checkpoint completes a WAL of so many frames, at 3 ms the next one has three.
fn second_cycle(frames: u8) -> (Protocol, Model) {
    let (mut protocol, mut model) = started(Mutation::None);
    model.commit(frames);
    run(&mut protocol, &mut model, 1_000_000, Then::Maintain, &mut std::iter::empty());
    assert!(model.can_restart());
    model.commit(3);
    run(&mut protocol, &mut model, 3_000_000, Then::Maintain, &mut std::iter::empty());
    (protocol, model)
}

/// P5: the hook of a writer that goes on after a checkpoint has nothing to do from its first commit on; a FULL of an application that
/// pauses then is let through.
#[test]
fn trap9_a_steady_writer_is_braked_from_the_start() {
    let ms = |ms: u64| ms * 1_000_000;
    let (mut protocol, mut model) = second_cycle(80);
    let mut none = std::iter::empty();
    assert!(model.brake.is_some(), "a frame is enough");
    model.checkpoint_and_wait(Mode::Full);
    (0..10).for_each(|_| model.advance());
    assert!(model.waiting.is_some(), "for the brake");
    assert_eq!(protocol.due_in(&model.facts(), ms(4)), Some(LIMITS.calm_ns - ms(1)));
    run(&mut protocol, &mut model, ms(23), Then::Maintain, &mut none);
    assert!(model.brake.is_none());
    (0..10).for_each(|_| model.advance());
    assert!(model.waiting.is_none());
    run(&mut protocol, &mut model, ms(24), Then::Maintain, &mut none);
    model.commit(3);
    run(&mut protocol, &mut model, ms(60), Then::Maintain, &mut none);
    assert!(model.brake.is_none(), "it is not steady any more");
    let idle = Some(LIMITS.idle_ns);
    assert_eq!(protocol.due_in(&model.facts(), ms(60)), idle, "and no checkpoint is due for a pause");
}

/// P5: a writer so slow that the hook would not have begun is not braked early: a FULL waits for nothing. Nor is one beside a reader
/// that keeps the WAL: when he leaves, the hook copies it back, although our next attempt is long off (P7).
#[test]
fn trap9_no_brake_where_it_is_of_no_use() {
    let ms = |ms: u64| ms * 1_000_000;
    let (_, model) = second_cycle(70);
    assert!(model.brake.is_none(), "a slow writer");

    let (mut protocol, mut model) = second_cycle(80);
    let mut none = std::iter::empty();
    assert!(model.brake.is_some(), "a steady one");
    model.begin(1);
    let mut now = 3;
    // More than the WAL should have, so that each tick asks for a checkpoint, and each is stuck.
    for _ in 0..2_000 {
        now += 5;
        model.commit(2);
        run(&mut protocol, &mut model, ms(now), Then::Maintain, &mut none);
    }
    assert!(
        model.backfill < model.mx() && model.brake.is_none(),
        "{:?}",
        protocol.due_in(&model.facts(), ms(now))
    );
    model.readers = [None; 4];
    assert!(model.passive() && model.backfill == model.mx(), "the hook");
}

/// Nothing to do means no action at all, on a pin as well as on READ_LOCK(0).
#[test]
fn rest_is_rest() {
    let (mut protocol, mut model) = started(Mutation::None);
    model.commit(5);
    run(&mut protocol, &mut model, 1, Then::Maintain, &mut std::iter::empty());
    for now in 2..50 {
        let none = run(&mut protocol, &mut model, now, Then::Maintain, &mut std::iter::empty());
        assert_eq!(none, 0);
    }
    assert_eq!(protocol.due_in(&model.facts(), 2), Some(LIMITS.idle_ns - 1));
    model.passive();
    assert_eq!(protocol.due_in(&model.facts(), 2), Some(0), "somebody may be waiting for READ_LOCK(1..4)");
    run(&mut protocol, &mut model, 51, Then::Maintain, &mut std::iter::empty());
    assert!(model.zero);
    for now in 52..99 {
        let none = run(&mut protocol, &mut model, now, Then::Maintain, &mut std::iter::empty());
        assert_eq!((none, protocol.due_in(&model.facts(), now)), (0, None));
    }
}

/// An unused slot is the best pin, then the highest mark; of equals the last.
#[test]
fn the_best_slot_is_one_that_nobody_uses() {
    assert_eq!(preference([0, model::UNUSED, model::UNUSED, model::UNUSED]), [3, 2, 1, 0]);
    assert_eq!(preference([9, 3, model::UNUSED, 4]), [2, 0, 3, 1]);
    assert_eq!(preference([5, 5, 5, 5]), [3, 2, 1, 0]);
}
