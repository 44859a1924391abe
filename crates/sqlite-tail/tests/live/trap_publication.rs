//! Trap 1: inotify comes before the commit is published.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach};
use sqlite_tail::Wake;
use std::time::Duration;

fn founded(place: &Place, synchronous: &str) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql(&format!("PRAGMA synchronous={synchronous}"));
    app.sql("CREATE TABLE t(x)");
    app
}

/// Every commit ends a wait, although with `synchronous=FULL` the header is still old when the event comes.
#[test]
fn trap1_no_commit_is_slept_through() {
    for synchronous in ["FULL", "NORMAL"] {
        let place = Place::new();
        let mut app = founded(&place, synchronous);
        let mut tail = attach(&place.db());
        let mut image = Image::of(&mut tail);
        for round in 0..60 {
            app.begin("sql INSERT INTO t VALUES(randomblob(200))");
            // Far longer than any commit: a timeout here is a lost wake-up.
            assert_eq!(tail.wait(Duration::from_secs(20)), Wake::Event, "round {round}");
            let copied = tail.copy(&mut image).unwrap();
            assert_eq!(copied.commits, 1);
            app.answer().unwrap();
            tail.maintain(&mut image).unwrap();
        }
        app.exit();
    }
}

/// P2: a transaction whose frames are in the WAL but not committed is seen as pending and never delivered.
#[test]
fn p2_spilled_frames_are_not_delivered() {
    let place = Place::new();
    let mut app = founded(&place, "NORMAL");
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    app.sql("PRAGMA cache_size=5");
    app.sql("BEGIN");
    app.sql("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) SELECT randomblob(2000) FROM n");
    let look = tail.look().unwrap();
    assert!(look.pending_publication && !look.news, "{look:?}");
    assert_eq!(tail.copy(&mut image).unwrap().frames, 0);
    assert_eq!(tail.wait(Duration::from_millis(30)), Wake::Timeout);
    assert!(tail.stats().publication_retries > 0);
    app.sql("ROLLBACK");
    let look = tail.look().unwrap();
    assert!(!look.pending_publication, "nobody writes, so nothing is coming: {look:?}");
    assert_eq!(tail.copy(&mut image).unwrap().frames, 0);
    app.sql("INSERT INTO t VALUES(1)");
    assert_eq!(tail.copy(&mut image).unwrap().commits, 1);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// Waiting ends for a call and for the end.
#[test]
fn a_waker_interrupts_from_any_thread() {
    let place = Place::new();
    let app = founded(&place, "NORMAL");
    let mut tail = attach(&place.db());
    tail.look().unwrap();
    let waker = tail.waker();
    waker.wake();
    assert_eq!(tail.wait(Duration::from_secs(20)), Wake::Event);
    std::thread::scope(|scope| {
        scope.spawn(move || waker.stop());
        assert_eq!(tail.wait(Duration::from_secs(20)), Wake::Stopped);
    });
    assert_eq!(tail.wait(Duration::from_secs(20)), Wake::Stopped, "stopped stays stopped");
    app.exit();
}

/// Trap 10: the WAL can be synced by another thread while the tail goes on.
#[test]
fn trap10_the_wal_is_synced_from_another_thread() {
    let place = Place::new();
    let mut app = founded(&place, "NORMAL");
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    let file = tail.wal_file();
    std::thread::scope(|scope| {
        let synced = scope.spawn(move || file.sync_data());
        app.sql("INSERT INTO t VALUES(1)");
        tail.copy(&mut image).unwrap();
        synced.join().unwrap().unwrap();
    });
    tail.sync_wal().unwrap();
    app.exit();
}
