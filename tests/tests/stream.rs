//! What an application commits comes back, whatever it does to its database meanwhile (P1, P2, P5).

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::{PATIENCE, Place, Streamer, Volume, fold, kill_between_commits, snapshot};
use rusqlite::Connection;
use testkit::app::{self, AppArgs, Checkpoint, read_acks};
use testkit::procs::{Proc, wait_until};

const NONE: &[&str] = &[];
const FAST: &[&str] = &["--sync-interval", "100ms"];

/// Restores the newest state, deeply checked, and proves it to be what the volume holds.
#[track_caller]
fn comes_back(place: &Place, prefix: &str, volume: &Volume) -> app::Report {
    let restored = volume.file("restored.db");
    place.restore(prefix, &restored, &["--integrity", "full", "--force"]).expect(0);
    let report = app::verify(&restored).expect("a prefix of the plan");
    volume.expect_same(&restored);
    report
}

/// The application is killed in full flight; what it acknowledged before is in the store after the streamer's SIGTERM.
#[test]
fn p1_every_acknowledged_commit_comes_back() {
    for place in [Place::s3(), Place::directory()] {
        let volume = Volume::new();
        let acks = volume.file("acks");
        let args =
            AppArgs { writers: 4, readers: 2, rate: 700.0, ack_file: Some(acks.clone()), ..volume.args(0) };
        let mut application = Proc::bin("hw-app", args.to_args());
        let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
        wait_until(PATIENCE, "1,000 acknowledged transactions, and some of them streamed", || {
            read_acks(&acks).len() >= 1000 && streamer.durable() > 2
        });
        kill_between_commits(&mut application, &volume.db());
        let acknowledged = read_acks(&acks).last().map_or(0, |ack| ack.seq);
        streamer.drain();
        let log = streamer.proc.log();
        assert!(
            streamer.durable() > 2,
            "it streamed while the application wrote, not only at the end:\n{log}"
        );
        let report = comes_back(&place, "p", &volume);
        assert!(report.last_seq >= acknowledged, "{report}, acknowledged {acknowledged}");
        assert!(report.documents > 0 && report.events > 0, "{report}");
    }
}

/// SIGTERM right behind a commit: exit 0 says that everything committed is durable, so it must be.
#[test]
fn p1_a_commit_right_before_sigterm_is_durable() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(1);
    for round in 0..12 {
        let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST).following();
        if round == 0 {
            streamer.wait_beyond(0);
        }
        volume.write(1 + round % 3);
        streamer.proc.terminate();
        let exit = streamer.proc.expect_exit(PATIENCE);
        // 6 would be honest as well: stopped while it still compared the database.
        assert!(exit == 0 || exit == 6, "{exit}:\n{}", streamer.proc.log_tail());
        let restored = volume.file("restored.db");
        place.restore("p", &restored, &["--force"]).expect(0);
        if exit == 0 {
            assert_eq!(
                app::verify(&restored).expect("a prefix").last_seq,
                volume.last_seq(),
                "round {round}"
            );
        }
    }
}

#[test]
fn p1_every_page_size_comes_back() {
    let place = Place::s3();
    for page_size in [512, 1024, 65536] {
        let (volume, prefix) = (Volume::new(), format!("pages-{page_size}"));
        let mut streamer = Streamer::start(&place, &prefix, &volume.db(), FAST);
        let args = AppArgs { page_size, writers: 2, ..volume.args(220) };
        app::run(&args).expect("the application works");
        streamer.wait_beyond(0);
        streamer.drain();
        assert_eq!(comes_back(&place, &prefix, &volume).last_seq, 220);
        let restored = fs::read(volume.file("restored.db")).expect("it was restored");
        let stored = u32::from(restored[16]) << 8 | u32::from(restored[17]);
        assert_eq!(stored, if page_size == 65536 { 1 } else { page_size });
    }
}

/// The database grows and shrinks, by auto-vacuum and VACUUM; every state on the way can be restored.
#[test]
fn p2_a_database_that_shrinks_comes_back_at_every_point() {
    let place = Place::s3();
    for auto_vacuum in ["none", "full", "incremental"] {
        let (volume, prefix) = (Volume::new(), format!("vacuum-{auto_vacuum}"));
        let args = AppArgs {
            auto_vacuum: auto_vacuum.to_owned(),
            checkpoint: Checkpoint::Passive,
            checkpoint_every: 40,
            ..volume.args(120)
        };
        app::run(&args).expect("the application works");
        let mut streamer = Streamer::start(&place, &prefix, &volume.db(), &["--sync-interval", "10ms"]);
        let mut durable = streamer.wait_beyond(0);
        let keeper = Connection::open(volume.db()).expect("the database opens");
        keeper.busy_timeout(Duration::from_secs(5)).expect("a timeout can be set");
        for step in [
            "CREATE TABLE ballast(x); INSERT INTO ballast VALUES(randomblob(900000))",
            "INSERT INTO ballast VALUES(zeroblob(700000))",
            "DELETE FROM ballast; PRAGMA incremental_vacuum(100)",
            "VACUUM",
            "INSERT INTO ballast VALUES(randomblob(300000)); DELETE FROM ballast",
            "VACUUM; DROP TABLE ballast; VACUUM",
        ] {
            keeper.execute_batch(step).expect(step);
            // Else a slow disk makes one file, and so one point, of several steps.
            streamer.sync(&place, &volume.db());
            durable = streamer.wait_beyond(durable);
            app::run(&AppArgs { transactions: 10, ..args.clone() }).expect("the application works");
        }
        drop(keeper);
        streamer.drain();
        assert_eq!(comes_back(&place, &prefix, &volume).last_seq, 180);
        let (mut sizes, mut last_seq) = (Vec::new(), 0);
        for txid in place.txids(&prefix) {
            let restored = volume.file("point.db");
            place.restore(&prefix, &restored, &["--txid", &txid, "--force"]).expect(0);
            let found = app::verify(&restored).expect("a prefix of the plan").last_seq;
            assert!(found >= last_seq, "TXID {txid} holds {found}, the one before {last_seq}");
            last_seq = found;
            sizes.push(fs::metadata(&restored).expect("it was restored").len());
        }
        let shrank = sizes.windows(2).filter(|pair| pair[1] < pair[0]).count();
        let grew = sizes.windows(2).filter(|pair| pair[1] > pair[0]).count();
        assert!(shrank >= 1 && grew >= 2, "{auto_vacuum}: {sizes:?}");
    }
}

/// Two databases written in one transaction, followed by one process that is killed: each comes back as its own prefix.
#[test]
fn p2_attached_databases_come_back_each_as_its_own_prefix() {
    const ROWS: i64 = 400;
    let (place, volume) = (Place::s3(), Volume::new());
    let (one, two) = (volume.file("one.db"), volume.file("two.db"));
    let pairs: [(&Path, &str); 2] = [(&one, "one"), (&two, "two")];
    let mut db = Connection::open(&one).expect("a database");
    db.execute("ATTACH ?1 AS other", [two.to_str()]).expect("it can be attached");
    for schema in ["main", "other"] {
        db.execute_batch(&format!(
            "PRAGMA {schema}.journal_mode = wal; CREATE TABLE {schema}.t(n INTEGER PRIMARY KEY, x)"
        ))
        .expect("a table");
    }
    let mut streamer = Streamer::of_pairs(&place, &pairs, &["--sync-interval", "20ms"]);
    for n in 1..=ROWS {
        let transaction = db.transaction().expect("a transaction");
        for schema in ["main", "other"] {
            let sql = format!("INSERT INTO {schema}.t VALUES(?1, randomblob(700))");
            transaction.execute(&sql, [n]).expect("a row");
        }
        transaction.commit().expect("a commit");
        if n == ROWS / 2 {
            wait_until(PATIENCE, "both in the store", || pairs.iter().all(|(_, p)| place.files(p).len() > 1));
            streamer.proc.kill9();
            for (_, prefix) in pairs {
                let rows = rows(&place, prefix, &volume);
                assert!(rows > 0 && rows <= n, "{prefix}: {rows} of {n}");
            }
            streamer = Streamer::of_pairs(&place, &pairs, FAST);
        }
    }
    drop(db);
    // A signal that comes before the process listens to it ends it.
    streamer.wait_for("claimed");
    streamer.drain();
    for (path, prefix) in pairs {
        assert_eq!(rows(&place, prefix, &volume), ROWS);
        fold(path);
        let compared = app::compare_dbs(path, &volume.file("restored.db")).expect("both can be read");
        assert!(compared.same_bytes(), "{prefix}: {compared}");
    }
}

/// Restores a database of numbered rows: they must be 1..n without a gap.
#[track_caller]
fn rows(place: &Place, prefix: &str, volume: &Volume) -> i64 {
    let restored = volume.file("restored.db");
    place.restore(prefix, &restored, &["--force"]).expect(0);
    let db = Connection::open(&restored).expect("it opens");
    let counted =
        db.query_row("SELECT count(*), ifnull(max(n), 0) FROM t", (), |row| Ok((row.get(0)?, row.get(1)?)));
    let (count, last): (i64, i64) = counted.expect("it can be read");
    assert_eq!(count, last, "{prefix} has a gap");
    count
}

/// Applications that checkpoint by themselves after every commit lose nothing and are not blocked (P5): the slowest
/// commit stays below their busy timeout of 5 s, and the rate above an eighth of what they reach alone. Whoever is blocked
/// is so each time; a stall of the machine falls into one half of a pair.
#[test]
fn p5_applications_that_checkpoint_by_themselves_are_not_blocked() {
    const TRANSACTIONS: u64 = 150;
    let place = Place::s3();
    let is_blocked = |checkpoint: Checkpoint, attempt: u32| {
        let args = |volume: &Volume| {
            let args = volume.args(TRANSACTIONS);
            AppArgs { checkpoint, checkpoint_every: 1, writers: 2, rate: 250.0, ..args }
        };
        let alone = app::run(&args(&Volume::new())).expect("the application works");
        let (volume, prefix) = (Volume::new(), format!("{checkpoint:?}-{attempt}"));
        let mut streamer = Streamer::start(&place, &prefix, &volume.db(), FAST);
        let beside = app::run(&args(&volume)).expect("the application works");
        streamer.wait_beyond(0);
        streamer.drain();
        assert_eq!(comes_back(&place, &prefix, &volume).last_seq, TRANSACTIONS);
        let told = |report: &app::AppReport| {
            format!("{:.0}/s, max {:?}, busy {}", report.rate(), report.latency(1.0), report.busy)
        };
        println!("{prefix}: alone {}; beside the streamer {}", told(&alone), told(&beside));
        beside.latency(1.0) >= Duration::from_secs(5) || beside.rate() < alone.rate() / 8.0
    };
    for checkpoint in [Checkpoint::Passive, Checkpoint::Full, Checkpoint::Restart, Checkpoint::Truncate] {
        let blocked = (0..3).all(|attempt| is_blocked(checkpoint, attempt));
        assert!(!blocked, "{checkpoint:?} is blocked each time");
    }
}

/// The first image of a replica.
const IMAGE: &str = "0000000000000001-0000000000000001.ltx";

/// While nobody watches, the application restarts and truncates its WAL: the next start compares pages, sends only what
/// changed, and the result is right.
#[test]
fn p1_a_wal_restarted_during_downtime_is_made_good_by_a_page_diff() {
    let (place, volume) = (Place::directory(), Volume::new());
    volume.write(400);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    for checkpoint in [Checkpoint::Restart, Checkpoint::Truncate, Checkpoint::Passive] {
        let args = AppArgs { checkpoint, checkpoint_every: 2, ..volume.args(15) };
        app::run(&args).expect("the application works");
        let before = place.files("p");
        let once = Streamer::once(&place, "p", &volume.db(), NONE);
        assert!(once.expect(0).stderr.contains("compared the database"), "{}", once.stderr);
        let new: u64 =
            place.files("p")[before.len()..].iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        let (_, image) = place.objects("p").into_iter().find(|(p, _)| p.ends_with(IMAGE)).unwrap();
        let image = image.len() as u64;
        assert!(new > 0 && new < image / 2, "a diff of {new} bytes beside an image of {image}");
    }
    assert_eq!(comes_back(&place, "p", &volume).last_seq, 445);
}

/// A volume whose record continues the replica may hold a database that was deleted and created anew meanwhile (decision
/// 0003: the record is the proof). What was there before must stay exactly restorable (P3), and what is there now too.
#[test]
fn p3_a_database_recreated_during_downtime_leaves_the_history_restorable() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(60);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    let old_point = place.txids("p").pop().expect("a point");
    let old = volume.file("old.db");
    fs::copy(volume.db(), &old).unwrap();
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        let _ = fs::remove_file(volume.file(name));
    }
    app::run(&AppArgs { seed: 77, ..volume.args(3) }).expect("the application works");
    let once = Streamer::once(&place, "p", &volume.db(), NONE);
    if once.exit == 3 {
        assert_eq!(place.txids("p").last(), Some(&old_point), "a refusal writes nothing");
        return;
    }
    assert!(once.expect(0).stderr.contains("compared the database"), "{}", once.stderr);
    assert_eq!(comes_back(&place, "p", &volume).last_seq, 3);
    let restored = volume.file("before.db");
    place.restore("p", &restored, &["--txid", &old_point]).expect(0);
    assert!(app::compare_dbs(&old, &restored).unwrap().same_rows());
    assert_eq!(app::verify(&restored).unwrap().last_seq, 60);
}

/// The file is replaced under a running streamer: it stops following what it was attached to, and refuses the new one.
#[test]
fn p3_a_database_replaced_under_a_running_streamer_is_refused() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(30);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    streamer.wait_beyond(0);
    let other = Volume::new();
    app::run(&AppArgs { seed: 8, ..other.args(10) }).expect("the application works");
    fold(&other.db());
    let before = place.objects("p");
    for name in ["app.db-wal", "app.db-shm"] {
        let _ = fs::remove_file(volume.file(name));
    }
    fs::rename(other.db(), volume.db()).unwrap();
    assert_eq!(streamer.proc.expect_exit(PATIENCE), 3, "{}", streamer.proc.log_tail());
    assert!(streamer.proc.log().contains("replaced by another one"), "{}", streamer.proc.log_tail());
    assert_eq!(place.objects("p"), before);
}

#[test]
fn a_rollback_journal_is_refused_unless_it_may_be_converted() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let db = Connection::open(volume.db()).unwrap();
    db.pragma_update(None, "journal_mode", "delete").unwrap();
    drop(db);
    let before = fs::read(volume.db()).unwrap();
    let refused = Streamer::once(&place, "p", &volume.db(), NONE);
    refused.expect(3).says(&["app.db", "rollback journal", "--convert-to-wal"]);
    assert_eq!(fs::read(volume.db()).unwrap(), before, "a refusal changes nothing");
    assert!(place.objects("p").is_empty());
    Streamer::once(&place, "p", &volume.db(), &["--convert-to-wal"]).expect(0);
    let db = Connection::open(volume.db()).unwrap();
    let mode: String = db.query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    drop(db);
    assert_eq!(comes_back(&place, "p", &volume).last_seq, 20);
}

/// A sidecar starts before its application: it waits, touches nothing, and begins when the database appears.
#[test]
fn a_database_that_appears_later_is_waited_for() {
    let (place, volume) = (Place::s3(), Volume::new());
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    streamer.wait_for("waiting for it");
    assert!(snapshot(volume.path()).is_empty(), "nothing is created where the application will be");
    volume.write(50);
    streamer.wait_beyond(0);
    streamer.drain();
    assert_eq!(comes_back(&place, "p", &volume).last_seq, 50);

    // Stopped while it still waits: nothing was lost, and it says that it did nothing.
    let mut waiting = Streamer::start(&place, "q", &volume.file("other.db"), NONE);
    waiting.wait_for("waiting for it");
    waiting.proc.terminate();
    assert!([0, 6].contains(&waiting.proc.expect_exit(PATIENCE)));
}

/// `--once` takes a first image, then only what is new, then nothing but its claim; each run ends by itself.
#[test]
fn once_makes_everything_durable_and_ends() {
    let (place, volume) = (Place::directory(), Volume::new());
    volume.write(50);
    // A connection that stays, so that the WAL outlives the application.
    let keeper = Connection::open(volume.db()).unwrap();
    keeper.query_row("SELECT count(*) FROM ledger", (), |_| Ok(())).unwrap();
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    assert_eq!(comes_back_while_open(&place, &volume), 50);
    volume.write(25);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    assert_eq!(comes_back_while_open(&place, &volume), 75);
    let before = place.files("p").len();
    let idle = Streamer::once(&place, "p", &volume.db(), NONE);
    assert!(idle.expect(0).stderr.contains("continuing where the last run ended"), "{}", idle.stderr);
    assert_eq!(place.files("p").len(), before + 1);
    drop(keeper);
}

fn comes_back_while_open(place: &Place, volume: &Volume) -> u64 {
    let restored = volume.file("restored.db");
    place.restore("p", &restored, &["--force"]).expect(0);
    app::verify(&restored).expect("a prefix of the plan").last_seq
}
