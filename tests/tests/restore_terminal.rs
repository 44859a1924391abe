//! `restore` with somebody at a terminal, as a standby that runs on, and on replicas of Litestream 0.3: as processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{PATIENCE, Place, Streamer, Volume, fold, run};
use rusqlite::Connection;
use testkit::app;
use testkit::procs::{Proc, bin, wait_until};

const NONE: &[&str] = &[];

/// Runs `restore` on a terminal of its own, types the answer when it is asked, and gives exit code and screen.
fn at_terminal(place: &Place, arguments: &[&str], answer: &str) -> Option<(i32, String)> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let program = bin("restore");
    let line: Vec<String> =
        std::iter::once(program.to_str().unwrap()).chain(arguments.iter().copied()).map(quoted).collect();
    let mut command = Command::new("script");
    command.args(["-qfec", &line.join(" "), "/dev/null"]).env("TERM", "dumb");
    for (name, value) in place.command("restore").get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    else {
        println!("skipped: no script(1) to open a terminal with");
        return None;
    };
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut chunk = [0; 4096];
    let mut typed = false;
    while let Ok(n @ 1..) = screen.read(&mut chunk) {
        seen += &String::from_utf8_lossy(&chunk[..n]);
        if !typed && seen.contains("type yes to go on: ") {
            typed = true;
            keys.write_all(answer.as_bytes()).unwrap();
            keys.flush().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(typed, "it never asked: {seen}");
    Some((status.code().unwrap_or(-1), seen))
}

#[test]
fn unlock_asks_before_it_stops_a_writer() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let url = place.url("p");
    let before = place.objects("p");
    for no in ["no\n", "\n", "y\n"] {
        let Some((exit, screen)) = at_terminal(&place, &["unlock", &url], no) else { return };
        assert_eq!(exit, 3, "{screen}");
        assert!(
            screen.contains("will stop at his next commit") && screen.contains("was left alone"),
            "{screen}"
        );
    }
    assert_eq!(place.objects("p"), before, "nothing was claimed");
    let (exit, screen) = at_terminal(&place, &["unlock", &url], "yes\n").unwrap();
    assert_eq!(exit, 0, "{screen}");
    assert!(screen.contains("claim taken over: epoch 2"), "{screen}");
    assert_ne!(place.objects("p"), before);
}

#[test]
fn p3_a_restore_over_something_asks_and_a_no_changes_nothing() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    fs::create_dir(volume.file("tree")).unwrap();
    fs::write(volume.file("tree/a"), "stored").unwrap();
    let mut snapshot = place.command("config-syncer");
    snapshot.arg("snapshot").arg(volume.file("tree")).arg(place.url("files"));
    run(snapshot).expect(0);

    let (db, dir) = (volume.file("out.db"), volume.file("out"));
    fs::write(&db, "what was there").unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a"), "what was there").unwrap();
    let (db_text, dir_text) = (db.to_str().unwrap(), dir.to_str().unwrap());
    let (of_db, of_files) = (place.url("p"), place.url("files"));
    let sqlite = ["sqlite", &of_db, "-o", db_text];
    let files = ["files", &of_files, "-o", dir_text];
    let Some((exit, screen)) = at_terminal(&place, &sqlite, "no\n") else { return };
    assert!(exit == 3 && screen.contains("exists and will be replaced by TXID"), "{exit} {screen}");
    let (exit, screen) = at_terminal(&place, &files, "no\n").unwrap();
    assert!(exit == 3 && screen.contains("moved aside, not deleted"), "{exit} {screen}");
    assert_eq!(fs::read(&db).unwrap(), b"what was there");
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"what was there");

    assert_eq!(at_terminal(&place, &sqlite, "yes\n").unwrap().0, 0);
    assert_eq!(app::verify(&db).unwrap().last_seq, 5);
    assert_eq!(at_terminal(&place, &files, "yes\n").unwrap().0, 0);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"stored");
}

/// The newest transaction in a standby, while it is being written.
fn standby_seq(path: &Path) -> u64 {
    app::verify(path).map_or(0, |report| report.last_seq)
}

#[test]
fn p2_a_standby_follows_as_a_process_and_goes_on_where_it_was() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(10);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), &["--sync-interval", "50ms"]).following();
    streamer.wait_beyond(0);
    let out = volume.file("standby.db");
    let follow = || {
        let mut command = place.command("restore");
        command.args(["--log-format", "json", "sqlite", &place.url("p"), "-o"]).arg(&out);
        command.args(["--follow", "--interval", "50ms"]);
        Proc::start(command)
    };
    let mut standby = follow();
    standby.wait_for_log(PATIENCE, "following");
    for round in 1..=3 {
        volume.write(10);
        wait_until(PATIENCE, "the standby has it", || standby_seq(&out) == 10 + 10 * round);
    }
    standby.kill9();
    volume.write(10);
    // Killed, it is a whole earlier state, and started again it goes on without a new restore.
    assert!(standby_seq(&out) >= 30, "{}", standby_seq(&out));
    let mut standby = follow();
    wait_until(PATIENCE, "the standby goes on", || standby_seq(&out) == volume.last_seq());
    assert!(!standby.log().contains("restored "), "{}", standby.log_tail());
    standby.terminate();
    assert_eq!(standby.expect_exit(PATIENCE), 0, "{}", standby.log_tail());
    streamer.drain();
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A generation as Litestream 0.3 lays it out, written by the rules of its layout from a database of ours: a snapshot, and a WAL in
/// two segments.
#[test]
fn a_replica_of_litestream_0_3_is_restored_by_hand_and_never_continued_by_a_pod() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    fold(&volume.db());
    let generation = place.root("old/generations/00112233445566ff");
    fs::create_dir_all(generation.join("snapshots")).unwrap();
    fs::create_dir_all(generation.join("wal")).unwrap();
    fs::write(generation.join("snapshots/00000000.snapshot.lz4"), lz4(&fs::read(volume.db()).unwrap()))
        .unwrap();
    // A reader that stays keeps the WAL from being folded when the application ends.
    let reader = Connection::open(volume.db()).unwrap();
    reader.execute_batch("PRAGMA wal_autocheckpoint=0; BEGIN; SELECT count(*) FROM sqlite_schema").unwrap();
    let args = app::AppArgs { checkpoint: app::Checkpoint::None, ..volume.args(30) };
    app::run(&args).unwrap();
    let wal = fs::read(volume.file("app.db-wal")).unwrap();
    let page = u32::from_be_bytes(wal[8..12].try_into().unwrap()) as usize;
    let cut = 32 + 3 * (24 + page);
    fs::write(generation.join("wal/00000000_00000000.wal.lz4"), lz4(&wal[..cut])).unwrap();
    fs::write(generation.join(format!("wal/00000000_{cut:08x}.wal.lz4")), lz4(&wal[cut..])).unwrap();
    reader.execute_batch("COMMIT").unwrap();
    drop(reader);
    let newest = volume.last_seq();

    let mut list = place.command("restore");
    list.args(["list", &place.url("old")]);
    let listed = run(list);
    listed.expect(0);
    assert!(listed.stdout.contains("00112233445566ff"), "{}", listed.stdout);
    let out = volume.file("out.db");
    let restored = place.restore("old", &out, NONE);
    restored.expect(0);
    assert!(restored.stdout.contains("generation 00112233445566ff"), "{}", restored.stdout);
    assert_eq!(app::verify(&out).unwrap().last_seq, newest);
    place.restore("old", &volume.file("follow.db"), &["--follow"]).expect(3).says(&["litestream 0.3"]);
    // A segment is missing: a hole is named, and nothing is left behind.
    fs::remove_file(generation.join("wal/00000000_00000000.wal.lz4")).unwrap();
    let hole = place.restore("old", &volume.file("hole.db"), NONE);
    assert!(matches!(hole.exit, 3 | 4), "{} {}", hole.exit, hole.stderr);
    assert!(!volume.file("hole.db").exists());
}
