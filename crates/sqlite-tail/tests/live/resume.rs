//! Coming back after a downtime (trap 18), and damage in the WAL (P2).

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach};
use sqlite_tail::{Error, Position, Resume};
use std::os::unix::fs::FileExt;

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("PRAGMA wal_autocheckpoint=0");
    app.sql("CREATE TABLE t(x)");
    app
}

/// Everything copied by one tail, which then goes away.
fn visit(place: &Place) -> (Image, Position) {
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    tail.copy(&mut image).unwrap();
    let at = tail.position().unwrap();
    (image, at)
}

#[test]
fn trap18_an_appended_wal_is_proven_and_continued() {
    let place = Place::new();
    let mut app = founded(&place);
    let (mut image, at) = visit(&place);
    assert!(at.frame > 0);
    for _ in 0..20 {
        app.sql("INSERT INTO t VALUES(randomblob(9000))");
    }
    app.sql("PRAGMA wal_checkpoint(PASSIVE)"); // backfilled, but not restarted
    let mut tail = attach(&place.db());
    assert_eq!(tail.resume(at).unwrap(), Resume::Proven);
    assert_eq!(tail.position(), Some(at));
    assert_eq!(tail.copy(&mut image).unwrap().commits, 20);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

#[test]
fn trap18_a_restarted_wal_is_never_proven() {
    for mode in ["RESTART", "TRUNCATE"] {
        let place = Place::new();
        let mut app = founded(&place);
        let (_, at) = visit(&place);
        app.sql("INSERT INTO t VALUES(1)");
        app.sql(&format!("PRAGMA wal_checkpoint({mode})"));
        app.sql("INSERT INTO t VALUES(2)");
        let mut tail = attach(&place.db());
        assert!(matches!(tail.resume(at).unwrap(), Resume::Unproven { .. }), "{mode}");
        assert_eq!(tail.position(), None);
        app.exit();
    }
}

/// The salts of an index built from an empty WAL are zero, whatever happened before: they prove nothing.
#[test]
fn trap18_an_empty_wal_proves_nothing() {
    let place = Place::new();
    founded(&place).exit();
    let (_, at) = visit(&place);
    assert_eq!((at.salts(), at.frame), ((0, 0), 0), "the close of the application deleted the wal");
    let mut app = App::open(&place.db());
    app.sql("INSERT INTO t VALUES(1)");
    app.exit();
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(place.path(&format!("app.db{suffix}"))).ok();
    }
    let mut tail = attach(&place.db());
    assert_eq!(tail.view().unwrap().position().salts(), (0, 0), "looks the same");
    assert!(matches!(tail.resume(at).unwrap(), Resume::Unproven { .. }));
}

#[test]
fn trap18_another_frame_at_our_offset_is_no_proof() {
    let place = Place::new();
    let app = founded(&place);
    let (_, at) = visit(&place);
    let mut tail = attach(&place.db());
    for other in [Position { salt2: at.salt2 ^ 1, ..at }, Position { page_size: 512, ..at }] {
        assert!(matches!(tail.resume(other).unwrap(), Resume::Unproven { .. }), "{other:?}");
        assert_eq!(tail.position(), None);
    }
    for other in [Position { cksum1: at.cksum1 ^ 1, ..at }, Position { frame: at.frame + 1, ..at }] {
        assert!(matches!(tail.resume(other).unwrap(), Resume::RolledBack { .. }), "{other:?}");
        assert_eq!(tail.position(), None);
    }
    assert_eq!(tail.resume(at).unwrap(), Resume::Proven);
    app.exit();
}

/// Trap 10: the volume comes back in the middle of a generation that was copied further, as after a power loss with
/// `synchronous=NORMAL`; with frames that the application then writes anew, or without.
#[test]
fn trap10_a_volume_that_lost_frames_is_told_apart() {
    for more in [0, 1, 9] {
        let place = Place::new();
        let mut app = founded(&place);
        let lost_from = visit(&place).1;
        for _ in 0..3 {
            app.sql("INSERT INTO t VALUES(randomblob(9000))");
        }
        let (_, at) = visit(&place);
        app.crash();
        let wal = std::fs::File::options().write(true).open(place.path("app.db-wal")).unwrap();
        wal.set_len(lost_from.wal_offset()).unwrap();
        std::fs::remove_file(place.path("app.db-shm")).unwrap();
        let mut app = founded_again(&place);
        for _ in 0..more {
            app.sql("INSERT INTO t VALUES(randomblob(8000))");
        }
        let mut tail = attach(&place.db());
        assert!(matches!(tail.resume(at).unwrap(), Resume::RolledBack { .. }), "{more}");
        assert_eq!(tail.resume(lost_from).unwrap(), Resume::Proven);
        app.exit();
    }
}

fn founded_again(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA wal_autocheckpoint=0");
    app.sql("SELECT count(*) FROM t");
    app
}

/// A proven position behind a WAL that is fully backfilled: the pin taken at attaching keeps it from being restarted
/// before it is copied.
#[test]
fn p2_nothing_is_overwritten_between_resuming_and_copying() {
    let place = Place::new();
    let mut app = founded(&place);
    let (mut image, at) = visit(&place);
    app.sql("INSERT INTO t VALUES(1)");
    app.sql("PRAGMA wal_checkpoint(PASSIVE)");
    let mut tail = attach(&place.db());
    assert_eq!(tail.resume(at).unwrap(), Resume::Proven);
    app.sql("INSERT INTO t VALUES(2)");
    let copied = tail.copy(&mut image).unwrap();
    assert_eq!((copied.commits, copied.restarted), (2, false));
    // Everything backfilled and copied, it may restart.
    app.sql("PRAGMA wal_checkpoint(PASSIVE)");
    tail.maintain(&mut image).unwrap();
    app.sql("INSERT INTO t VALUES(3)");
    assert!(tail.copy(&mut image).unwrap().restarted);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// Without a position there is nothing to protect, and `maintain` lets the WAL restart. A position proven after that
/// may be behind what was given free; the restart over it must not pass as a harmless one.
#[test]
fn a_restart_over_uncopied_frames_is_a_gap() {
    let place = Place::new();
    let mut app = founded(&place);
    let (mut image, at) = visit(&place);
    app.sql("INSERT INTO t VALUES(1)");
    app.sql("PRAGMA wal_checkpoint(PASSIVE)");
    let mut tail = attach(&place.db());
    tail.maintain(&mut image).unwrap();
    assert_eq!(tail.resume(at).unwrap(), Resume::Proven);
    app.sql("INSERT INTO t VALUES(2)");
    let error = tail.copy(&mut image).expect_err("frames are gone");
    assert!(matches!(error, Error::Gap { .. }), "{error}");
    assert_eq!(tail.position(), None);
    // The way out: a view.
    let mut image = Image::of(&mut tail);
    app.sql("INSERT INTO t VALUES(3)");
    assert_eq!(tail.copy(&mut image).unwrap().commits, 1);
    image.equals_file_after(tail, &place.db());
    app.exit();
}

/// P2: a flipped bit below `mxFrame` names the frame and delivers nothing of its transaction.
#[test]
fn p2_a_corrupt_frame_is_named() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    let at = tail.position().unwrap();
    for _ in 0..3 {
        app.sql("INSERT INTO t VALUES(randomblob(20000))");
    }
    let wal = std::fs::File::options().read(true).write(true).open(place.path("app.db-wal")).unwrap();
    let offset = at.wal_offset() + 4 * 4120 + 2000;
    let mut byte = [0];
    wal.read_exact_at(&mut byte, offset).unwrap();
    wal.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    let error = tail.copy(&mut image).expect_err("corrupt");
    assert!(matches!(error, Error::Corrupt { frame, .. } if frame == at.frame + 5), "{error}");
    assert_eq!((tail.position(), image.commits), (Some(at), 0));
    assert!(matches!(tail.view(), Err(Error::Corrupt { .. })), "nor is it part of a view");
    wal.write_all_at(&byte, offset).unwrap();
    assert_eq!(tail.copy(&mut image).unwrap().commits, 3);
    app.crash();
}

#[test]
fn p2_a_truncated_wal_is_an_error() {
    let place = Place::new();
    let mut app = founded(&place);
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    let at = tail.position().unwrap();
    app.sql("INSERT INTO t VALUES(randomblob(20000))");
    let wal = std::fs::File::options().write(true).open(place.path("app.db-wal")).unwrap();
    wal.set_len(at.wal_offset() + 5000).unwrap();
    let error = tail.copy(&mut image).expect_err("truncated");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!((tail.position(), image.commits), (Some(at), 0));
    app.crash();
}
