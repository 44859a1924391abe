//! What operators and disks get wrong: a code, one line with file, cause and hint, and nothing changed.

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Outcome, PATIENCE, Place, Streamer, Volume, fold, run, snapshot};
use nix::unistd::Uid;
use rusqlite::Connection;
use testkit::app::{self, AppArgs};
use testkit::diskfull::SmallDisk;
use testkit::procs::{Proc, wait_until};
use testkit::rng::Rng;

const NONE: &[&str] = &[];
/// A uid that owns nothing.
const NOBODY: u32 = 65534;

/// What to plant at a path before the streamer is pointed at it.
type Plant = fn(&Path);

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let table: [(&str, Plant, i32, &[&str]); 9] = [
        ("text", |path| fs::write(path, "a shopping list").unwrap(), 3, &["is not an sqlite database"]),
        (
            "random bytes",
            |path| fs::write(path, Rng::new(1).bytes(20_000)).unwrap(),
            3,
            &["not an sqlite", "encrypted"],
        ),
        ("a directory", |path| fs::create_dir(path).unwrap(), 3, &["directory", "name the file"]),
        ("nothing", |_| {}, 1, &["no database at"]),
        ("an empty file", |path| fs::write(path, "").unwrap(), 1, &["no database at"]),
        ("a header alone", |path| cut(path, 100), 3, &["malformed"]),
        ("half a page", |path| cut(path, 2048), 3, &["malformed"]),
        (
            "a hard link",
            |path| database(path, 10, |db| fs::hard_link(db, db.with_extension("link")).unwrap()),
            3,
            &["link"],
        ),
        (
            "a symbolic link to nothing",
            |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
            1,
            &["no database at"],
        ),
    ];
    let place = Place::s3();
    let mut wrong = Vec::new();
    for (what, plant, exit, says) in table {
        let volume = Volume::new();
        plant(&volume.db());
        // What SQLite itself creates to look at a file with its header does not count.
        let state = || {
            let mut files = snapshot(volume.path());
            files.retain(|path, _| {
                !path.to_string_lossy().ends_with("-shm") && !path.to_string_lossy().ends_with("-wal")
            });
            (files, place.objects("p"))
        };
        let before = state();
        let streamer = Streamer::once(&place, "p", &volume.db(), NONE);
        println!("{what}: {} {}", streamer.exit, streamer.last_line());
        let said = says.iter().all(|part| streamer.last_line().contains(part));
        if streamer.exit != exit || !said {
            wrong.push(format!("{what}: exit {}, expected {exit}: {}", streamer.exit, streamer.last_line()));
        }
        streamer.says(&["app.db"]);
        assert!(state() == before, "{what}: something was changed");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The application's database in WAL mode, then a change to its file.
fn database(path: &Path, transactions: u64, change: impl FnOnce(&Path)) {
    app::run(&AppArgs { transactions, ..AppArgs::new(path) }).expect("the application works");
    change(path);
}

fn cut(path: &Path, length: u64) {
    database(path, 10, |db| {
        let file = fs::File::options().write(true).open(db).expect("the database opens");
        file.set_len(length).expect("it can be cut");
    });
}

/// Another uid may not read it; and one that may, but does not own it, would create files the application cannot use.
#[test]
fn a_database_of_another_uid_is_refused() {
    if !Uid::effective().is_root() {
        return println!("skipped: only root can become another uid");
    }
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for mode in [0o600, 0o644, 0o666] {
        fs::set_permissions(volume.db(), fs::Permissions::from_mode(mode)).unwrap();
        let before = snapshot(volume.path());
        let mut command = place.command("wal-streamer");
        command.args(["replicate", "--once"]).arg(volume.db()).arg(place.url("p"));
        let Some(streamer) = as_nobody(command) else { return };
        streamer.expect(3).says(&["app.db", "belongs to uid", "runAsUser"]);
        assert_eq!(snapshot(volume.path()), before);
        assert!(place.objects("p").is_empty());
    }
    // Its own it may replicate.
    for path in [volume.path().to_owned(), volume.db()] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = place.command("wal-streamer");
    command.args(["replicate", "--once"]).arg(volume.db()).arg(place.url("p"));
    as_nobody(command).expect("it ran before").expect(0);
}

/// Runs a command as another uid, where the binaries can be reached by it.
fn as_nobody(mut command: Command) -> Option<Outcome> {
    let mut probe = Command::new(command.get_program());
    probe.arg("--version").uid(NOBODY).gid(NOBODY).stdout(std::process::Stdio::null());
    if let Err(error) = probe.status() {
        println!("skipped: another uid cannot run the binaries: {error}");
        return None;
    }
    command.uid(NOBODY).gid(NOBODY);
    Some(run(command))
}

/// The WAL an application left behind when it was killed.
fn crashed(transactions: u64) -> Volume {
    let volume = Volume::new();
    let args = AppArgs { checkpoint: app::Checkpoint::None, rollback_one_in: 0, ..volume.args(0) };
    let mut application = Proc::bin("hw-app", AppArgs { rate: 400.0, ..args }.to_args());
    wait_until(PATIENCE, "the transactions", || {
        application.is_running()
            && fs::metadata(volume.file("app.db-wal")).is_ok_and(|wal| wal.len() > transactions * 4096)
    });
    application.kill9();
    volume
}

/// After a crash the WAL may be torn or hold a flipped bit: SQLite keeps the transactions before that, and exactly
/// these are shipped.
#[test]
fn p2_a_damaged_wal_after_a_crash_ships_what_sqlite_keeps() {
    let place = Place::s3();
    let mut rng = Rng::for_test(11);
    for round in 0..6 {
        let (volume, prefix) = (crashed(60), format!("wal-{round}"));
        let path = volume.file("app.db-wal");
        let mut wal = fs::read(&path).unwrap();
        let at = rng.range(wal.len() as u64 / 4, wal.len() as u64 * 3 / 4) as usize;
        match round % 2 {
            0 => wal.truncate(at),
            _ => wal[at] ^= 1 << rng.below(8),
        }
        fs::write(&path, wal).unwrap();
        Streamer::once(&place, &prefix, &volume.db(), NONE).expect(0);
        let restored = volume.file("restored.db");
        place.restore(&prefix, &restored, NONE).expect(0);
        let seq = app::verify(&restored).expect("a prefix of the plan").last_seq;
        assert!(seq > 0);
        volume.expect_same(&restored);
        assert_eq!(volume.last_seq(), seq);
    }
}

/// A bit flips in committed frames while an application is attached: the frame is named, and nothing at or beyond it is
/// shipped.
#[test]
fn p2_a_flipped_bit_in_a_live_wal_is_never_shipped() {
    let (place, volume) = (Place::s3(), Volume::new());
    app::run(&AppArgs { checkpoint: app::Checkpoint::None, ..volume.args(1) }).unwrap();
    let keeper = Connection::open(volume.db()).unwrap();
    keeper.query_row("SELECT count(*) FROM ledger", (), |_| Ok(())).unwrap();
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let safe = place.txids("p");
    app::run(&AppArgs { checkpoint: app::Checkpoint::None, ..volume.args(120) }).unwrap();
    let path = volume.file("app.db-wal");
    let mut wal = fs::read(&path).unwrap();
    let middle = wal.len() / 2;
    wal[middle] ^= 0x10;
    fs::write(&path, &wal).unwrap();
    let streamer = Streamer::once(&place, "p", &volume.db(), NONE);
    streamer.expect(1).says(&["app.db-wal", "frame", "checksum"]);
    let restored = volume.file("restored.db");
    for txid in place.txids("p") {
        place.restore("p", &restored, &["--force", "--txid", &txid]).expect(0);
        assert_eq!(app::verify(&restored).expect("a prefix of the plan").last_seq, 1);
    }
    assert!(place.txids("p").starts_with(&safe));
    drop(keeper);
}

#[test]
fn a_full_disk_for_the_streamers_state() {
    let disk = match SmallDisk::mount(6 << 20) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, db) = (Place::s3(), disk.path().join("app.db"));
    let args = AppArgs { transactions: 30, ..AppArgs::new(&db) };
    app::run(&args).unwrap();
    // Enough for the wal-index, too little for what is staged.
    disk.fill(48 << 10);
    let streamer = Streamer::once(&place, "p", &db, NONE);
    streamer.expect(1).says(&["app.db", "No space left"]);
    assert!(place.files("p").is_empty(), "nothing was shipped");
    disk.release();
    Streamer::once(&place, "p", &db, NONE).expect(0);

    // Full while it follows: whether it waits or ends with 1, the next run makes it good.
    let mut streamer = Streamer::start(&place, "p", &db, &["--sync-interval", "50ms"]).following();
    disk.fill(64 << 10);
    let mut writer = Connection::open(&db).unwrap();
    let mut written = 0;
    let mut blob = || -> rusqlite::Result<()> {
        let transaction = writer.transaction()?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS more(x); INSERT INTO more VALUES(randomblob(12000))",
        )?;
        transaction.commit()
    };
    while blob().is_ok() && written < 100 {
        written += 1;
    }
    assert!(written < 100, "the disk is full for the application as well");
    drop(writer);
    let _ = streamer.proc.wait_timeout(std::time::Duration::from_millis(500));
    disk.release();
    if streamer.proc.is_running() {
        streamer.drain();
    } else {
        assert_eq!(streamer.proc.expect_exit(PATIENCE), 1, "{}", streamer.proc.log_tail());
        println!("it ended with 1");
    }
    Streamer::once(&place, "p", &db, NONE).expect(0);
    let scratch = tempfile::tempdir().unwrap();
    let restored = scratch.path().join("restored.db");
    place.restore("p", &restored, NONE).expect(0);
    fold(&db);
    let compared = app::compare_dbs(&db, &restored).unwrap();
    assert!(compared.same_bytes() && compared.same_rows(), "{compared}");
}

#[test]
fn a_full_disk_for_a_restore_leaves_the_old_file() {
    let disk = match SmallDisk::mount(1 << 20) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let (place, volume) = (Place::s3(), Volume::new());
    app::run(&AppArgs { blob: 20_000, ..volume.args(150) }).unwrap();
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let out = disk.path().join("app.db");
    fs::write(&out, b"the old database").unwrap();
    let before = snapshot(disk.path());
    let restore = place.restore("p", &out, &["--force"]);
    restore.expect(1).says(&["needs", "bytes", "left"]);
    assert_eq!(snapshot(disk.path()), before);
}

#[test]
fn outputs_that_cannot_be_are_refused() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| scratch.path().join(name);
    fs::create_dir(file("dir")).unwrap();
    fs::write(file("there.db"), b"precious").unwrap();
    std::os::unix::fs::symlink("nowhere", file("link.db")).unwrap();
    let table: [(PathBuf, &[&str], i32, &[&str]); 6] = [
        (file("dir"), NONE, 3, &["is a directory", "name a file"]),
        (file("dir"), &["--force"], 3, &["is a directory"]),
        (file("there.db"), NONE, 3, &["exists", "--force"]),
        (file("link.db"), NONE, 3, &["exists"]),
        (file("no/such/dir/x.db"), NONE, 1, &["no/such/dir"]),
        (file("there.db/x.db"), NONE, 1, &["there.db"]),
    ];
    let before = snapshot(scratch.path());
    for (output, more, exit, says) in table {
        let restore = place.restore("p", &output, more);
        println!("{} {}", restore.exit, restore.last_line());
        restore.expect(exit).says(says);
        assert_eq!(snapshot(scratch.path()), before, "{}", output.display());
    }
}

#[test]
fn wrong_arguments_are_usage_errors_that_help() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let (url, db) = (place.url("p"), volume.db().display().to_string());
    let typo = url.replace("region=", "regoin=");
    let out = volume.file("restored.db").display().to_string();
    let table: [(&str, &[&str], i32, &[&str]); 12] = [
        ("wal-streamer", &["replicate", "--once", &db, &typo], 2, &["regoin", "region"]),
        ("wal-streamer", &["replicate", "--once", &db], 2, &["pairs"]),
        ("wal-streamer", &["replicate", "--once", &db, "bucket/prefix"], 2, &["s3://bucket/prefix"]),
        ("wal-streamer", &["replicate", "--once", &db, "ftp://bucket/prefix"], 2, &["ftp", "use s3"]),
        ("wal-streamer", &["replicate", "--onec", &db, &url], 2, &["--once"]),
        ("wal-streamer", &["replicate", "--sync-interval", "soon", &db, &url], 2, &["500ms"]),
        ("restore", &["sqlite", &typo, "-o", &out], 2, &["regoin", "region"]),
        ("restore", &["sqlite", &url, "-o", &out, "--txid", "newest"], 2, &["16 hex digits"]),
        ("restore", &["sqlite", &url, "-o", &out, "--timestamp", "yesterday"], 2, &["RFC 3339"]),
        (
            "restore",
            &["sqlite", &url, "-o", &out, "--txid", "00000000000000ff"],
            3,
            &["does not exist", "the newest is"],
        ),
        (
            "restore",
            &["sqlite", &url, "-o", &out, "--timestamp", "2001-01-01T00:00:00Z"],
            3,
            &["oldest point"],
        ),
        ("restore", &["sqlite", &url], 2, &["--output"]),
    ];
    let before = (snapshot(volume.path()), place.objects("p"));
    for (program, arguments, exit, says) in table {
        let mut command = place.command(program);
        command.args(arguments);
        let outcome = run(command);
        outcome.expect(exit);
        for part in says {
            assert!(outcome.stderr.contains(part), "{part:?} is not in\n{}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        assert_eq!((snapshot(volume.path()), place.objects("p")), before, "{arguments:?}");
    }
}

/// No credentials anywhere: said before anything is asked.
#[test]
fn missing_credentials_are_named() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let mut command = place.command("wal-streamer");
    command.args(["replicate", "--once"]).arg(volume.db()).arg(place.url("p"));
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", volume.path());
    run(command).expect(2).says(&["credentials"]);
    assert_eq!(place.server().counts().total(), 0);
}
