//! The hold as a lock of our own (decision 0002): what it forbids, whom it lets by, and the slots it finds.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach};

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("PRAGMA wal_autocheckpoint=0");
    app.sql("CREATE TABLE t(x)");
    app
}

/// P5: while the tail does nothing at all, an application that waits for nobody may commit and backfill everything; it
/// cannot restart the WAL, whatever it tries.
#[test]
fn p5_a_pin_is_in_nobodys_way_but_a_restarts() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    for round in 0..50 {
        app.sql("INSERT INTO t VALUES(randomblob(5000))");
        assert!(app.sql("PRAGMA wal_checkpoint(FULL)").starts_with("0;"), "round {round}");
        let look = tail.look().unwrap();
        assert_eq!(look.n_backfill, look.mx_frame, "round {round}");
    }
    assert!(app.sql("PRAGMA wal_checkpoint(RESTART)").starts_with("1;"));
    assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1;"));
    let copied = tail.copy(&mut image).unwrap();
    assert_eq!((copied.commits, copied.restarted), (50, false));
    tail.maintain(&mut image).unwrap();
    assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("0;"), "copied and backfilled: we let go");
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// On READ_LOCK(0) exactly one restart is possible; the new generation is held until it is copied.
#[test]
fn p2_after_letting_go_one_restart_is_possible() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    app.sql("INSERT INTO t VALUES(1)");
    tail.checkpoint_now(&mut image).unwrap();
    for round in 0..5 {
        app.sql("INSERT INTO t VALUES(2)");
        // Blocked by our READ_LOCK(0) until we have seen the commit.
        assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1;"), "round {round}");
    }
    let copied = tail.copy(&mut image).unwrap();
    assert_eq!((copied.commits, copied.restarted), (5, true));
    // Copying alone let the others backfill.
    assert!(app.sql("PRAGMA wal_checkpoint(FULL)").starts_with("0;"));
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// Readers of the application hold all four slots, each at another commit: the tail shares one, loses nothing, and
/// finds a better place when they are gone.
#[test]
fn p2_p5_readers_in_every_slot_leave_room_for_a_hold() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut readers = Vec::new();
    for at in 0..5 {
        app.sql(&format!("INSERT INTO t VALUES({at})"));
        let mut reader = App::open(&place.db());
        reader.sql("BEGIN");
        reader.sql("SELECT count(*) FROM t");
        readers.push(reader);
    }
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    for _ in 0..3 {
        app.sql("INSERT INTO t VALUES(randomblob(5000))");
        tail.copy(&mut image).unwrap();
        tail.maintain(&mut image).unwrap();
        assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1;"));
    }
    for mut reader in readers {
        reader.sql("ROLLBACK");
        reader.exit();
    }
    app.sql("INSERT INTO t VALUES(randomblob(5000))");
    tail.maintain(&mut image).unwrap();
    assert!(app.sql("PRAGMA wal_checkpoint(FULL)").starts_with("0;"));
    tail.maintain(&mut image).unwrap();
    assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("0;"));
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// Trap 7: closing other descriptors of `-shm`, as any connection of this process does, leaves the hold alone.
#[test]
fn trap7_the_hold_survives_the_close_of_other_descriptors() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    app.sql("INSERT INTO t VALUES(1)");
    drop(std::fs::File::open(place.path("app.db-shm")).unwrap());
    assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1;"), "still pinned");
    assert_eq!(tail.copy(&mut image).unwrap().commits, 1);
    tail.maintain(&mut image).unwrap();
    assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("0;"));
    // (Our connections' own locks are gone now, so nothing more is asked of this tail.)
    app.exit();
}
