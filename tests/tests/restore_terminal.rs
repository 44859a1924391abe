//! `restore` with somebody at a terminal, as a standby that runs on, and on replicas of Litestream 0.3: as processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{PATIENCE, Place, Streamer, Volume, fold, run};
use rusqlite::Connection;
use testkit::app;
use testkit::bolt::{kubernetes, snapshot};
use testkit::procs::{Proc, bin, wait_until};
use testkit::rng::Rng;

const NONE: &[&str] = &[];

/// Runs `restore` on a terminal of its own, types the answer when it is asked, and gives exit code and screen.
fn at_terminal(place: &Place, arguments: &[&str], answer: &str) -> Option<(i32, String)> {
    let (exit, screen, typed) = on_screen(place, arguments, answer)?;
    assert!(typed, "it never asked: {screen}");
    Some((exit, screen))
}

/// The same, whether it asks or not; the last value says which.
fn on_screen(place: &Place, arguments: &[&str], answer: &str) -> Option<(i32, String, bool)> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let program = bin("restore");
    let line: Vec<String> =
        std::iter::once(program.to_str().unwrap()).chain(arguments.iter().copied()).map(quoted).collect();
    let mut command = Command::new("script");
    command.args(["-qfec", &line.join(" "), "/dev/null"]).env("TERM", "xterm");
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
    Some((status.code().unwrap_or(-1), seen, typed))
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

/// Adopts a snapshot of a small cluster with so many bytes that do not compress; the file itself.
fn ship_etcd(place: &Place, noise: usize) -> Vec<u8> {
    // Not in the system's temporary directory, which may be a tmpfs: a spool there is refused.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut pairs = kubernetes();
    pairs.push(("/registry/noise/one".into(), Rng::new(7).bytes(noise)));
    let bytes = snapshot(&pairs);
    let file = dir.path().join("taken.db");
    fs::write(&file, &bytes).unwrap();
    let mut command = place.command("etcd-shipper");
    command.args(["ship", "--cluster", "prod", "--unencrypted", "--taken-at", "2026-11-20T10:00:00Z"]);
    command.args(["--to", &place.url("etcd"), "--spool-dir"]).arg(dir.path()).arg("--file").arg(&file);
    run(command).expect(0);
    bytes
}

#[test]
fn p3_restore_etcd_asks_before_it_replaces_a_file() {
    let (place, volume) = (Place::s3(), Volume::new());
    let bytes = ship_etcd(&place, 1_000);
    let file = volume.file("snapshot.db");
    fs::write(&file, "what was there").unwrap();
    let url = place.url("etcd");
    let etcd = ["etcd", &url, "-o", file.to_str().unwrap()];
    for no in ["no\n", "\n", "y\n"] {
        let Some((exit, screen)) = at_terminal(&place, &etcd, no) else { return };
        assert!(
            exit == 3 && screen.contains("exists and will be replaced by prod/daily/"),
            "{exit} {screen}"
        );
        assert!(screen.contains("was kept; nothing was changed"), "{screen}");
        assert_eq!(fs::read(&file).unwrap(), b"what was there");
    }
    let (exit, screen) = at_terminal(&place, &etcd, "yes\n").unwrap();
    assert!(exit == 0 && screen.contains("etcdutl snapshot restore"), "{exit} {screen}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    // --force is the answer, and a file that is not there is no question.
    let (exit, screen, asked) = on_screen(&place, &[&etcd[..], &["--force"]].concat(), "").unwrap();
    assert!(exit == 0 && !asked, "{exit} {screen}");
    fs::remove_file(&file).unwrap();
    let (exit, screen, asked) = on_screen(&place, &etcd, "").unwrap();
    assert!(exit == 0 && !asked, "{exit} {screen}");
    // Without a terminal there is nobody to ask.
    let mut command = place.command("restore");
    command.args(etcd);
    run(command).expect(3).says(&["exists", "--force"]);
}

/// Bytes of a download and how fast they come, so that it takes longer than the 5 s between two lines.
const SLOW: (usize, u64) = (1 << 20, 128 << 10);

#[test]
fn restore_etcd_shows_how_far_it_is_as_a_bar_or_as_log_lines() {
    let (place, volume) = (Place::s3(), Volume::new());
    let bytes = ship_etcd(&place, SLOW.0);
    let (file, url) = (volume.file("snapshot.db"), place.url("etcd"));
    let etcd = ["--log-format", "json", "etcd", &url, "-o", file.to_str().unwrap(), "--force"];
    place.server().faults().throttle_out(SLOW.1);
    let mut command = place.command("restore");
    command.args(etcd);
    let told = run(command);
    told.expect(0);
    let line = told.stderr.lines().find(|line| line.contains("restoring"));
    let line = line.unwrap_or_else(|| panic!("no progress: {}", told.stderr));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let number = |name: &str| line.get(name).or_else(|| line["fields"].get(name)).and_then(|n| n.as_u64());
    let (fetched, total) = (number("fetched").unwrap(), number("total").unwrap());
    assert!(0 < fetched && fetched <= total && total > SLOW.0 as u64, "{line}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    // On a terminal: a bar with rate and time left, and no log lines in between.
    let Some((exit, screen, _)) = on_screen(&place, &etcd, "") else { return };
    assert_eq!(exit, 0, "{screen}");
    assert!(screen.contains("/s") && screen.contains(" left"), "{screen}");
    assert!(!screen.contains("restoring"), "{screen}");
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
