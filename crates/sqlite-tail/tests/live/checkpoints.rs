//! Hand-overs and checkpoints beside an application that checkpoints as well.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach, clock, until};
use ::clock::{Clock, ManualClock};
use sqlite_tail::{Checkpoint, Options, Tail, Wake};
use std::sync::Arc;
use std::time::Duration;

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("PRAGMA synchronous=NORMAL");
    app.sql("CREATE TABLE t(x)");
    app
}

/// Lets the tail serve while `work` runs in another thread.
fn beside<T: Send>(tail: &mut Tail, image: &mut Image, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            tail.wait(Duration::from_millis(50));
            tail.copy(image).unwrap();
            tail.maintain(image).unwrap();
        }
        working.join().unwrap()
    })
}

/// P5: an application that checkpoints after every commit, in any mode, is never refused and never waits long, and
/// nothing is lost although the WAL restarts all the time.
#[test]
fn p5_an_application_checkpointing_after_every_commit_is_not_blocked() {
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        let place = Place::new();
        let mut app = founded(&place);
        app.sql("PRAGMA busy_timeout=10000");
        let mut tail = attach(&place.db());
        let mut image = Image::of(&mut tail);
        let (mut times, refused) = beside(&mut tail, &mut image, || {
            let clock = clock();
            let (mut times, mut refused) = (Vec::new(), 0);
            for _ in 0..100 {
                let began = clock.monotonic_ns();
                app.sql("INSERT INTO t VALUES(randomblob(5000))");
                let answer = app.sql(&format!("PRAGMA wal_checkpoint({mode})"));
                times.push(Duration::from_nanos(clock.monotonic_ns() - began));
                // (PASSIVE waits for nobody and is refused if our own checkpoint is at work.)
                refused += u32::from(mode != "PASSIVE" && !answer.starts_with("0;"));
            }
            (times, refused)
        });
        times.sort_unstable();
        let (most, slowest) = (times[94], times[99]);
        println!("{mode}: commit and checkpoint {most:?}, slowest {slowest:?}; {:?}", tail.stats());
        assert_eq!(refused, 0, "{mode}");
        // A disk that stalls holds up a few.
        let in_time = most < Duration::from_millis(250) && slowest < Duration::from_secs(5);
        assert!(in_time, "{mode} was blocked: {most:?}, the slowest {slowest:?}");
        assert!(mode == "PASSIVE" || mode == "FULL" || tail.stats().wal_restarts > 50, "{:?}", tail.stats());
        image.equals_file_after(tail, &place.db());
        app.exit();
    }
}

/// Trap 8: after a complete checkpoint we rest on READ_LOCK(0): the next commit restarts the WAL, TRUNCATE works.
#[test]
fn trap8_a_complete_checkpoint_lets_the_wal_restart_and_be_cut() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    app.sql("INSERT INTO t VALUES(randomblob(20000))");
    assert_eq!(tail.checkpoint_now(&mut image).unwrap().checkpoint, Some(Checkpoint::Complete));
    app.sql("INSERT INTO t VALUES(1)");
    let copied = tail.copy(&mut image).unwrap();
    assert!(copied.restarted && copied.to.frame < 5, "{copied:?}");
    assert!(tail.truncate_wal(&mut image).unwrap());
    assert_eq!(tail.look().unwrap().wal_bytes, 0);
    app.sql("INSERT INTO t VALUES(2)");
    assert_eq!(tail.copy(&mut image).unwrap().commits, 1);
    // TRUNCATE while something is not copied: our lock 0 keeps even the application from it.
    tail.checkpoint_now(&mut image).unwrap();
    app.sql("INSERT INTO t VALUES(3)");
    assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1;"));
    assert_eq!(tail.copy(&mut image).unwrap().commits, 1);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// The thresholds: not before 800 frames, then at once; a quiet database after ten seconds.
#[test]
fn trap9_checkpoints_are_due_by_frames_or_by_quiet() {
    let place = Place::new();
    let mut app = founded(&place);
    app.sql("PRAGMA wal_autocheckpoint=0");
    let time = Arc::new(ManualClock::at(0));
    let mut tail = Tail::attach(&place.db(), Options::default(), time.clone()).unwrap();
    let mut image = Image::of(&mut tail);
    app.sql("INSERT INTO t VALUES(zeroblob(400000))");
    tail.copy(&mut image).unwrap();
    assert_eq!(tail.maintain(&mut image).unwrap().checkpoint, None);
    time.advance_ms(9_000);
    assert_eq!(tail.maintain(&mut image).unwrap().checkpoint, None);
    time.advance_ms(1_001);
    assert_eq!(tail.wait(Duration::from_secs(60)), Wake::Timeout, "a due checkpoint ends the wait");
    assert_eq!(tail.maintain(&mut image).unwrap().checkpoint, Some(Checkpoint::Complete));
    time.advance_ms(250);
    app.sql("INSERT INTO t VALUES(zeroblob(3400000))");
    tail.copy(&mut image).unwrap();
    assert_eq!(tail.maintain(&mut image).unwrap().checkpoint, Some(Checkpoint::Complete));
    assert_eq!(tail.maintain(&mut image).unwrap().checkpoint, None, "nothing left to do");
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// A long reader of the application: no barrier for nothing, and fewer and fewer attempts.
#[test]
fn a_foreign_reader_makes_checkpoints_back_off() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut reader = App::open(&place.db());
    reader.sql("BEGIN");
    reader.sql("SELECT count(*) FROM t");
    let time = Arc::new(ManualClock::at(0));
    let options = Options { checkpoint_frames: 5, ..Options::default() };
    let mut tail = Tail::attach(&place.db(), options, time.clone()).unwrap();
    let mut image = Image::of(&mut tail);
    app.sql("INSERT INTO t VALUES(zeroblob(100000))");
    for _ in 0..6000 {
        tail.maintain(&mut image).unwrap();
        time.advance_ms(10);
    }
    let stats = tail.stats().clone();
    assert!((9..=13).contains(&stats.checkpoints), "50 ms, doubled up to 30 s, in a minute: {stats:?}");
    assert_eq!(stats.barrier.count + stats.barrier_busy, 0);
    reader.sql("ROLLBACK");
    time.advance_ms(31_000);
    assert_eq!(tail.maintain(&mut image).unwrap().checkpoint, Some(Checkpoint::Complete));
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// The barrier meets a writer that does not let go: given up, tried again, nobody hurt.
#[test]
fn a_busy_barrier_is_skipped() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    app.sql("INSERT INTO t VALUES(zeroblob(100000))");
    app.sql("BEGIN IMMEDIATE");
    app.sql("INSERT INTO t VALUES(1)");
    // Everything published can be backfilled beside an open write transaction.
    assert_eq!(tail.checkpoint_now(&mut image).unwrap().checkpoint, Some(Checkpoint::Complete));
    app.sql("COMMIT");
    assert!(tail.copy(&mut image).unwrap().restarted || tail.position().unwrap().frame > 0);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// A sink that fails leaves the position; the same frames come again.
#[test]
fn a_failing_sink_costs_nothing() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    let before = tail.position();
    app.sql("INSERT INTO t VALUES(zeroblob(100000))");
    app.sql("INSERT INTO t VALUES(zeroblob(100000))");
    for fail_after in [0, 1, 30, 40] {
        image.fail_after = Some(fail_after);
        tail.copy(&mut image).expect_err("the sink fails");
        image.fail_after = Some(fail_after);
        tail.checkpoint_now(&mut image).expect_err("the sink fails");
        assert_eq!(tail.position(), before);
    }
    image.fail_after = None;
    assert_eq!(tail.copy(&mut image).unwrap().commits, 2);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// An application that dies in mid-transaction leaves frames nobody will ever publish.
#[test]
fn p2_a_crashed_writer_leaves_nothing_behind() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    app.sql("PRAGMA cache_size=5");
    app.sql("BEGIN");
    app.sql("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) SELECT randomblob(2000) FROM n");
    app.crash();
    assert_eq!(tail.copy(&mut image).unwrap().frames, 0);
    let mut app = App::open(&place.db());
    app.sql("INSERT INTO t VALUES(1)");
    until("the commit", || tail.copy(&mut image).unwrap().commits == 1);
    image.equals_file_after(tail, &place.db());
    app.exit();
}
