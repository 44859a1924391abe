//! Trap 9: busy writers, small WALs.

use crate::app::App;
use crate::image::Image;
use crate::{Place, clock, until};
use clock::ManualClock;
use sqlite_tail::{Options, Tail};
use std::sync::Arc;
use std::time::Duration;

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("CREATE TABLE junk(id INTEGER PRIMARY KEY, body BLOB)");
    app.sql("INSERT INTO junk WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<2000) SELECT i, randomblob(300) FROM n");
    app
}

/// A tail that is called every hundred frames keeps the WAL below the application's thousand, for ever, with one
/// restart per 800 frames.
#[test]
fn trap9_the_wal_stays_below_the_applications_own_threshold() {
    let place = Place::new();
    let mut app = founded(&place);
    let options = Options { checkpoint_pause: Duration::ZERO, ..Options::default() };
    let mut tail = Tail::attach(&place.db(), options, clock()).unwrap();
    let mut image = Image::of(&mut tail);
    tail.checkpoint_now(&mut image).unwrap();
    for _ in 0..60 {
        app.sql("UPDATE junk SET body = randomblob(300) WHERE id % 20 = 1"); // each page of the table
        tail.copy(&mut image).unwrap();
        tail.maintain(&mut image).unwrap();
        let look = tail.look().unwrap();
        assert!(look.mx_frame < 1_000, "{look:?}");
    }
    let stats = tail.stats();
    let expected = stats.frames / 1_000..=stats.frames / 700;
    assert!(expected.contains(&stats.wal_restarts), "{expected:?}: {stats:?}");
    assert_eq!(stats.barrier.count, 0, "nobody writes meanwhile");
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// Beside a writer that does not pause we let the WAL grow, and its own hook, which would backfill after every commit from a
/// thousand frames on, has nothing to do.
#[test]
fn trap9_the_applications_own_hook_has_nothing_to_do() {
    let place = Place::new();
    let mut app = founded(&place);
    let time = Arc::new(ManualClock::at(0));
    let mut tail = Tail::attach(&place.db(), Options::default(), time.clone()).unwrap();
    let mut image = Image::of(&mut tail);
    app.sql("UPDATE junk SET body = randomblob(300)");
    tail.copy(&mut image).unwrap();
    tail.checkpoint_now(&mut image).unwrap();
    let (mut most, mut long) = (0, 0);
    for _ in 0..300 {
        app.sql("UPDATE junk SET body = randomblob(300) WHERE id % 20 = 1"); // each page of the table
        tail.copy(&mut image).unwrap();
        time.advance_ms(1);
        tail.maintain(&mut image).unwrap();
        let look = tail.look().unwrap();
        most = most.max(look.mx_frame);
        long += u32::from(look.mx_frame > 1_100);
        // The first time the brake comes with 800 frames, beside a writer that is known with its first commit.
        let brake = if tail.stats().wal_restarts <= 1 { 900 } else { 210 };
        assert!(
            look.n_backfill <= brake || look.n_backfill == look.mx_frame,
            "the hook got no further than the brake: {look:?}"
        );
    }
    assert!(long > 60 && most < 12_500, "{long} passes beyond the hook's threshold, at most {most} frames");
    assert!((1..=6).contains(&tail.stats().wal_restarts), "{:?}", tail.stats());
    // The lock is not kept: the application may checkpoint once the writer has paused.
    time.advance_ms(21);
    tail.maintain(&mut image).unwrap();
    assert_eq!(app.sql("PRAGMA wal_checkpoint(PASSIVE)").split(';').next(), Some("0"));
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// A writer that never pauses: everything arrives in order and the last state is a sound database. What it costs is
/// printed.
#[test]
fn trap9_p2_a_saturating_writer_is_followed() {
    let place = Place::new();
    let mut app = founded(&place);
    let ms = std::env::var("STORM_MS").unwrap_or("600".into());
    for synchronous in ["NORMAL", "FULL"] {
        let alone = app.ask(&format!("storm {ms} {synchronous}")).unwrap();
        let mut tail = Tail::attach(&place.db(), Options::default(), clock()).unwrap();
        let mut image = Image::of(&mut tail);
        app.begin(&format!("storm {ms} {synchronous}"));
        let mut answer = None;
        let mut most = 0;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| app.answer().unwrap());
            while !waiting.is_finished() {
                tail.wait(Duration::from_millis(20));
                most = most.max(tail.look().unwrap().wal_bytes);
                tail.copy(&mut image).unwrap();
                tail.maintain(&mut image).unwrap();
            }
            answer = Some(waiting.join().unwrap());
        });
        let answer = answer.unwrap();
        println!(
            "{synchronous}: alone {alone}, beside {answer}; wal {} KiB; {:?}",
            most / 1024,
            tail.stats()
        );
        until("all copied", || {
            !tail.look().unwrap().news || tail.copy(&mut image).is_ok_and(|copied| copied.frames == 0)
        });
        let commits: u64 = answer.split(';').next().unwrap().parse().unwrap();
        assert_eq!(image.commits, commits, "each commit once");
        image.equals_file_after(tail, &place.db());
    }
    app.exit();
}
