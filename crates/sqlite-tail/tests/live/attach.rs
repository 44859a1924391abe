//! Gates: what is refused before anything is touched, and how it is said.

use crate::app::App;
use crate::{Place, attach, clock};
use sqlite_tail::{Class, Error, Kind, Options, Tail, recognise};
use std::path::Path;

fn refusal(path: &Path) -> Error {
    Tail::attach(path, Options::default(), clock()).expect_err("must not attach")
}

fn founded(place: &Place) -> App {
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("CREATE TABLE t(x)");
    app
}

/// The WAL-reset bug of SQLite 3.7.0 to 3.51.2 needs exactly our topology.
#[test]
fn the_bundled_sqlite_has_no_wal_reset_bug() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[test]
fn what_is_no_database_is_told_apart() {
    let place = Place::new();
    assert!(matches!(refusal(&place.db()), Error::NotFound { .. }));
    assert!(matches!(refusal(place.db().parent().unwrap()), Error::NotADatabase { .. }));
    std::fs::write(place.db(), b"").unwrap();
    assert!(matches!(refusal(&place.db()), Error::NotFound { .. }));
    assert_eq!(recognise(&place.db()).unwrap(), Kind::Empty);
    std::fs::write(place.db(), "just some text, long enough to be a header. ".repeat(40)).unwrap();
    let error = refusal(&place.db());
    assert_eq!((error.class(), recognise(&place.db()).unwrap()), (Class::Refused, Kind::Other));
    let mut state = 1u64;
    let noise: Vec<u8> = (0..8192)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    std::fs::write(place.db(), noise).unwrap();
    assert!(refusal(&place.db()).to_string().contains("encrypted"));
    assert_eq!(recognise(&place.db()).unwrap(), Kind::Encrypted);
}

#[test]
fn a_rollback_journal_is_refused_or_converted() {
    let place = Place::new();
    let mut app = App::open(&place.db());
    app.sql("CREATE TABLE t(x)");
    assert_eq!(recognise(&place.db()).unwrap(), Kind::Rollback);
    assert!(refusal(&place.db()).to_string().contains("journal_mode=WAL"));
    let options = Options { convert_to_wal: true, ..Options::default() };
    let tail = Tail::attach(&place.db(), options, clock()).unwrap();
    app.sql("INSERT INTO t VALUES(1)");
    assert_eq!(app.sql("PRAGMA journal_mode"), "wal");
    drop(tail);
    app.exit();
}

/// Trap 2: attached as another uid, our `-shm` would lock the application out.
#[test]
fn trap2_another_uid_is_refused_with_the_line_to_add() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to change the uid");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    founded(&place).exit();
    std::fs::set_permissions(place.db().parent().unwrap(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(place.db(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut streamer = App::open_as(&place.db(), 1000);
    let refusal = streamer.ask("attach").unwrap_err();
    assert!(refusal.starts_with("Refused") && refusal.contains("runAsUser: 0"), "{refusal}");
    assert!(!place.path("app.db-shm").exists(), "nothing was created");
    streamer.exit();
    nix::unistd::chown(&place.db(), Some(1000.into()), Some(1000.into())).unwrap();
    let mut streamer = App::open_as(&place.db(), 1000);
    assert_eq!(streamer.ask("attach").unwrap(), "attached");
    streamer.exit();
}

/// Trap 6, the half that `stat` can tell.
#[test]
fn trap6_a_hard_link_is_refused() {
    let place = Place::new();
    founded(&place).exit();
    std::fs::hard_link(place.db(), place.path("other.db")).unwrap();
    assert!(refusal(&place.db()).to_string().contains("hard links"));
}

/// Trap 7a: a second attach or a header check of an attached file would close a descriptor of it.
#[test]
fn trap7_an_attached_file_is_not_opened_again() {
    let place = Place::new();
    let app = founded(&place);
    let tail = attach(&place.db());
    assert_eq!(recognise(&place.db()).unwrap(), Kind::Attached);
    let error = refusal(&place.db());
    assert!(error.to_string().contains("already attached"), "{error}");
    assert_eq!(error.class(), Class::Retriable, "whoever has it may be letting go");
    drop(tail);
    drop(attach(&place.db()));
    app.exit();
}

/// An application with `locking_mode=EXCLUSIVE` has no wal-index to share. One that creates its database, or closes it last, looks the
/// same as long as its disk stalls: nothing is touched meanwhile, and it is no refusal for good.
#[test]
fn an_exclusive_application_is_refused_for_as_long_as_it_is() {
    let place = Place::new();
    founded(&place).exit();
    let mut app = App::open(&place.db());
    app.sql("PRAGMA locking_mode=EXCLUSIVE");
    app.sql("INSERT INTO t VALUES(1)");
    for _ in 0..2 {
        let error = refusal(&place.db());
        assert!(error.to_string().contains("do not use locking_mode=EXCLUSIVE"), "{error}");
        assert_eq!(error.class(), Class::Retriable);
        assert!(!place.path("app.db-shm").exists(), "nothing was created");
    }
    app.exit();
    drop(attach(&place.db()));
}

/// Trap 14: what one attached database costs in descriptors.
#[test]
fn trap14_descriptors_per_database_are_few() {
    let count = || {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .filter(|path| path.to_string_lossy().contains("trap14"))
            .count()
    };
    let place = Place::new();
    let db = place.path("trap14.db");
    let mut app = App::open(&db);
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("CREATE TABLE t(x)");
    let tail = attach(&db);
    assert!(count() <= 12, "{} descriptors", count());
    drop(tail);
    assert_eq!(count(), 0);
}
