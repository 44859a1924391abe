//! Applications that die in the middle, and the recovery of the wal-index beside a hold.
//!
//! `walIndexRecover` locks the checkpoint and recovery bytes, then tries each read slot for itself and leaves a slot
//! that is held as it is: a pin neither stops it nor is touched by it. It forgets what was backfilled, keeps the
//! generation, and may publish a commit whose writer died before publishing it.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach, clock, until};
use clock::{IdGen, SeededIds};
use std::path::Path;
use std::time::Duration;

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("CREATE TABLE junk(id INTEGER PRIMARY KEY, body BLOB)");
    app.sql("INSERT INTO junk WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<2000) SELECT i, randomblob(300) FROM n");
    app
}

/// Breaks the wal-index header as a writer does that dies while it publishes. Our process holds POSIX locks on `-shm`,
/// so another one has to do it; `false` if there is no `dd`.
fn tear(shm: &Path) -> bool {
    std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=1", "seek=16", "count=4", "conv=notrunc", "status=none"])
        .arg(format!("of={}", shm.display()))
        .status()
        .is_ok_and(|status| status.success())
}

/// P1, P2: killed again and again in mid-commit, the application finds everything it was told, and so do we.
#[test]
fn p1_p2_a_writer_killed_in_mid_commit_costs_nothing() {
    let place = Place::new();
    founded(&place).exit();
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    let ids = SeededIds::new(11);
    for round in 0..12 {
        let mut app = App::open(&place.db());
        let synchronous = ["FULL", "NORMAL"][round % 2];
        app.begin(&format!("storm 60000 {synchronous}"));
        let before = tail.stats().commits;
        let mut follow = || {
            tail.wait(Duration::from_millis(5));
            tail.copy(&mut image).unwrap();
            tail.maintain(&mut image).unwrap();
            tail.stats().commits
        };
        // A process may take longer to start than it is given.
        until("the first commit", || follow() > before);
        let clock = clock();
        let end = clock.monotonic_ns() + (20 + ids.next_u64() % 60) * 1_000_000;
        while clock.monotonic_ns() < end {
            follow();
        }
        app.crash();
        if round % 3 == 2 && !tear(&place.path("app.db-shm")) {
            println!("no dd here: no torn index");
        }
        // Who comes first recovers: the next application, or we.
        let mut next = App::open(&place.db());
        if round % 2 == 0 {
            next.sql("PRAGMA busy_timeout=0");
            assert_eq!(next.sql("SELECT count(*) FROM junk"), "2001");
        }
        next.sql("UPDATE junk SET body = 1 WHERE id = 7");
        until("all copied", || {
            !tail.look().unwrap().news || tail.copy(&mut image).is_ok_and(|copied| copied.frames == 0)
        });
        let seven: i64 = image
            .check(&place.path("state.db"))
            .query_row("SELECT body FROM junk WHERE id = 7", [], |row| row.get(0))
            .unwrap();
        assert_eq!(seven, 1);
        next.exit();
    }
    assert!(tail.stats().commits > 12);
    image.equals_file_after(tail, &place.db());
}

/// A torn wal-index while the tail is pinned: the application recovers it at once, although we hold a slot; and we do,
/// if nobody else comes. The position holds in both cases, and the hold as well.
#[test]
fn p2_a_torn_wal_index_is_recovered_beside_a_pin() {
    for application_first in [true, false] {
        let place = Place::new();
        let mut app = founded(&place);
        let mut tail = attach(&place.db());
        let mut image = Image::of(&mut tail);
        app.sql("UPDATE junk SET body = 1 WHERE id = 7");
        app.sql("PRAGMA wal_checkpoint(PASSIVE)");
        tail.copy(&mut image).unwrap();
        app.sql("UPDATE junk SET body = 2 WHERE id = 7");
        app.crash();
        if !tear(&place.path("app.db-shm")) {
            println!("skipped: no dd here");
            return;
        }
        if !application_first {
            assert!(tail.look().unwrap().news);
            assert!(tail.stats().index_recoveries > 0);
        }
        let mut app = App::open(&place.db());
        app.sql("PRAGMA busy_timeout=0");
        assert_eq!(app.sql("SELECT body FROM junk WHERE id = 7"), "2");
        assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1;"), "still pinned");
        app.sql("UPDATE junk SET body = 3 WHERE id = 7");
        let copied = tail.copy(&mut image).unwrap();
        assert_eq!((copied.commits, copied.restarted), (2, false));
        image.equals_file_after(tail, &place.db());
        app.exit();
    }
}

/// The same on READ_LOCK(0): recovery forgets that all was backfilled, so nobody restarts anything until we moved.
#[test]
fn p2_a_torn_wal_index_is_recovered_beside_read_lock_0() {
    let place = Place::new();
    let app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    tail.checkpoint_now(&mut image).unwrap();
    app.crash();
    if !tear(&place.path("app.db-shm")) {
        println!("skipped: no dd here");
        return;
    }
    let mut app = App::open(&place.db());
    app.sql("UPDATE junk SET body = 1 WHERE id = 7");
    let copied = tail.copy(&mut image).unwrap();
    assert_eq!((copied.commits, copied.restarted), (1, false));
    assert!(app.sql("PRAGMA wal_checkpoint(FULL)").starts_with("0;"));
    image.equals_file_after(tail, &place.db());
    app.exit();
}
