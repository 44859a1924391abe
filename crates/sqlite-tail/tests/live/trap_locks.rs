//! Traps 6 and 7 between processes.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach};
use nix::mount::{MsFlags, mount, umount};
use sqlite_tail::Class;

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("CREATE TABLE t(x)");
    app.sql("INSERT INTO t VALUES(1)");
    app
}

/// Trap 6: the application has the database as a single-file mount, so its WAL is elsewhere.
#[test]
fn trap6_a_second_wal_behind_a_bind_mount_is_refused() {
    let place = Place::new();
    founded(&place).exit();
    std::fs::create_dir(place.path("sub")).unwrap();
    let elsewhere = place.path("sub").join("app.db");
    std::fs::write(&elsewhere, b"").unwrap();
    if let Err(error) = mount(Some(&place.db()), &elsewhere, None::<&str>, MsFlags::MS_BIND, None::<&str>) {
        println!("skipped: no bind mounts here ({error})");
        return;
    }
    let mut app = App::open(&elsewhere);
    app.sql("INSERT INTO t VALUES(2)");
    let tried = || sqlite_tail::Tail::attach(&place.db(), Default::default(), crate::clock());
    let attached = [tried(), tried()];
    app.exit();
    umount(&elsewhere).unwrap();
    for attached in attached {
        let error = attached.expect_err("must not attach");
        assert!(error.to_string().contains("another wal"), "{error}");
        assert!(error.to_string().contains("mount the directory"), "{error}");
        assert_eq!(error.class(), Class::Retriable, "it holds as long as he is there");
    }
    drop(attach(&place.db()));
}

/// Trap 6: the neighbour came after us. His commits are invisible to us, his locks are not.
#[test]
fn trap6_a_second_wal_that_comes_later_is_noticed() {
    let place = Place::new();
    founded(&place).exit();
    std::fs::create_dir(place.path("sub")).unwrap();
    let elsewhere = place.path("sub").join("app.db");
    std::fs::write(&elsewhere, b"").unwrap();
    if let Err(error) = mount(Some(&place.db()), &elsewhere, None::<&str>, MsFlags::MS_BIND, None::<&str>) {
        println!("skipped: no bind mounts here ({error})");
        return;
    }
    let mut tail = attach(&place.db());
    tail.look().unwrap();
    let mut foreign = App::open(&elsewhere);
    foreign.sql("SELECT count(*) FROM t");
    let looked = tail.look();
    foreign.exit();
    umount(&elsewhere).unwrap();
    let error = looked.expect_err("a foreign wal");
    assert!(error.to_string().contains("another wal"), "{error}");
    assert_eq!(error.class(), Class::Retriable);
}

/// Trap 7: the application's last close must not delete the WAL while we are attached, and ours must neither
/// checkpoint nor delete it.
#[test]
fn trap7_nobodys_exit_takes_the_wal_away() {
    let place = Place::new();
    let app = founded(&place);
    let mut tail = attach(&place.db());
    let image = Image::of(&mut tail);
    // (a) Looking at attached files must not drop our locks; (b) the application is not the last one out.
    assert_eq!(sqlite_tail::recognise(&place.db()).unwrap(), sqlite_tail::Kind::Attached);
    app.exit();
    let wal = place.path("app.db-wal");
    let bytes = std::fs::metadata(&wal).unwrap().len();
    assert!(bytes > 0, "the application deleted the wal beside us");
    let look = tail.look().unwrap();
    // (c) We are the last closer.
    drop(tail);
    assert_eq!(std::fs::metadata(&wal).unwrap().len(), bytes, "our close touched the wal");
    assert!(look.mx_frame > look.n_backfill, "and nobody checkpointed");
    drop(image);
}

/// A failed attach after connections were opened leaves the application's view of locks alone.
#[test]
fn trap7_a_second_tail_in_the_process_does_not_hurt_the_first() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    sqlite_tail::Tail::attach(&place.db(), Default::default(), crate::clock()).expect_err("attached twice");
    // The hold still stands: on READ_LOCK(1..4) a TRUNCATE cannot get by.
    app.sql("INSERT INTO t VALUES(2)");
    tail.copy(&mut image).unwrap();
    tail.maintain(&mut image).unwrap();
    app.sql("INSERT INTO t VALUES(3)");
    assert!(app.sql("PRAGMA wal_checkpoint(TRUNCATE)").starts_with("1;"), "blocked by our mark");
    tail.copy(&mut image).unwrap();
    assert_eq!(tail.position().unwrap().frame, tail.look().unwrap().mx_frame);
    app.exit();
}

/// A database that was replaced or deleted is not followed silently (Litestream #1209).
#[test]
fn a_replaced_database_is_an_error() {
    let place = Place::new();
    let app = founded(&place);
    let mut tail = attach(&place.db());
    tail.look().unwrap();
    std::fs::rename(place.db(), place.path("old.db")).unwrap();
    assert!(matches!(tail.look(), Err(sqlite_tail::Error::Replaced { .. })));
    std::fs::copy(place.path("old.db"), place.db()).unwrap();
    assert!(matches!(tail.look(), Err(sqlite_tail::Error::Replaced { .. })));
    app.crash();
}
