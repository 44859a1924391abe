//! The points of a replica: what `restore list` shows is what `--txid` and `--timestamp` give back (P2).

use std::fs;
use std::path::Path;

use e2e::{Place, Streamer, Volume, run, snapshot};
use rusqlite::Connection;
use serde_json::Value;
use testkit::app;

const NONE: &[&str] = &[];

fn sample(place: &Place, runs: u64) -> Volume {
    let volume = Volume::new();
    for _ in 0..runs {
        volume.write(12);
        Streamer::once(place, "p", &volume.db(), NONE).expect(0);
    }
    volume
}

/// TXID and commit time of what was restored, and the transactions in it.
#[track_caller]
fn restored(place: &Place, out: &Path, more: &[&str]) -> (String, String, u64) {
    let arguments: Vec<&str> = ["--force", "--format", "json"].iter().chain(more).copied().collect();
    let restore = place.restore("p", out, &arguments);
    restore.expect(0);
    let told: Value = serde_json::from_str(&restore.stdout).expect("JSON");
    assert_eq!(told["proven"], true, "{told}");
    let text = |name: &str| told[name].as_str().expect("text").to_owned();
    (text("txid"), text("timestamp"), app::verify(out).expect("a prefix of the plan").last_seq)
}

/// One millisecond earlier; the times of a replica have milliseconds.
fn millisecond_before(time: &str) -> String {
    clock::format_unix_ms(clock::parse_unix_ms(time).expect("RFC 3339") - 1)
}

#[test]
fn p2_every_listed_point_is_a_committed_prefix() {
    for place in [Place::s3(), Place::directory()] {
        let volume = sample(&place, 5);
        let out = volume.file("restored.db");
        let listed = place.points("p");
        assert_eq!(
            listed.len(),
            10,
            "an image and what marks it in level 0, then a claim and a sync per run"
        );
        let mut last = (i64::MIN, 0);
        let mut times = Vec::new();
        for point in &listed {
            assert!(point["size"].as_u64().is_some_and(|size| size > 0), "{point}");
            assert!(point["stored"].as_str().is_some_and(|time| time.ends_with('Z')), "{point}");
            let txid = point["txid"].as_str().expect("text");
            let (found, time, seq) = restored(&place, &out, &["--txid", txid]);
            assert_eq!(found, txid);
            // Compared as numbers: trailing zeros of the text are trimmed.
            let at = clock::parse_unix_ms(&time).expect("RFC 3339");
            assert!(at > last.0 && seq >= last.1, "{txid} of {time} holds {seq}, before: {last:?}");
            times.push((txid.to_owned(), time, seq));
            last = (at, seq);
        }
        assert_eq!(
            times.iter().map(|(_, _, seq)| *seq).collect::<Vec<_>>(),
            [12, 12, 12, 24, 24, 36, 36, 48, 48, 60]
        );

        // By time: at its very millisecond a point is chosen, one before it the point before.
        for (i, (txid, time, _)) in times.iter().enumerate() {
            assert_eq!(&restored(&place, &out, &["--timestamp", time]).0, txid);
            let before = millisecond_before(time);
            match i.checked_sub(1) {
                Some(i) => {
                    assert_eq!(restored(&place, &out, &["--timestamp", &before]).0, times[i].0, "{before}")
                }
                None => {
                    let restore = place.restore("p", &out, &["--force", "--timestamp", &before]);
                    restore.expect(3).says(&["nothing was committed", time]);
                }
            }
        }
        let newest = times.last().expect("points");
        assert_eq!(restored(&place, &out, &["--timestamp", "2999-01-01T00:00:00Z"]).0, newest.0);
        assert_eq!(restored(&place, &out, NONE).0, newest.0);
        volume.expect_same(&out);
    }
}

#[test]
fn the_list_is_for_people_and_for_programs() {
    let place = Place::s3();
    let _volume = sample(&place, 2);
    let mut command = place.command("restore");
    command.args(["list", &place.url("p")]);
    let text = run(command);
    let lines: Vec<&str> = text.expect(0).stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", text.stdout);
    for txid in place.txids("p") {
        assert!(text.stdout.contains(&txid), "{txid} is not in\n{}", text.stdout);
    }
}

/// Half a document must not pass for the whole.
#[test]
fn a_list_that_cannot_be_written_is_no_success() {
    let place = Place::directory();
    sample(&place, 1);
    let mut list = place.command("restore");
    list.arg("list").arg(place.url("p")).stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let done = list.output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("standard output"), "{done:?}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::s3();
    let volume = sample(&place, 3);
    let before = (snapshot(volume.path()), place.objects("p"));
    place.server().reset();
    let plan = place.restore("p", &volume.file("restored.db"), &["--dry-run"]);
    plan.expect(0);
    for file in place.files("p") {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(plan.stdout.contains(name), "{name} is not in the plan:\n{}", plan.stdout);
    }
    assert!(plan.stdout.contains("in 6 files"), "{}", plan.stdout);
    assert_eq!((snapshot(volume.path()), place.objects("p")), before);
    let counts = place.server().counts();
    assert_eq!((counts.list, counts.total()), (1, 1), "a plan costs one LIST");
}

#[test]
fn conditions_of_a_restore() {
    let place = Place::s3();
    let volume = sample(&place, 1);
    let out = volume.file("there.db");
    fs::write(&out, b"precious").unwrap();

    // What exists is kept, and the store is not even asked.
    place.server().reset();
    place.restore("p", &out, &["--if-not-exists"]).expect(0);
    place.restore("p", &out, NONE).expect(3).says(&["there.db", "exists", "--force"]);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    assert_eq!(place.server().counts().total(), 0);
    let fresh = volume.file("fresh.db");
    place.restore("p", &fresh, &["--if-not-exists"]).expect(0);
    assert_eq!(app::verify(&fresh).unwrap().last_seq, 12);

    // A replica that provably holds nothing.
    let none = volume.file("none.db");
    place.restore("elsewhere", &none, NONE).expect(3).says(&["nothing to restore", "prefix"]);
    place.restore("elsewhere", &none, &["--if-replica-exists"]).expect(0);
    assert!(!none.exists());
    place.restore("p", &none, &["--if-replica-exists"]).expect(0);
    assert_eq!(app::verify(&none).unwrap().last_seq, 12);
}

/// A replaced database takes its WAL with it: old frames must never meet the new file.
#[test]
fn force_replaces_a_database_together_with_its_wal() {
    let place = Place::s3();
    let volume = sample(&place, 2);
    let old = Volume::new();
    app::run(&app::AppArgs { seed: 3, ..old.args(30) }).unwrap();
    let db = Connection::open(old.db()).unwrap();
    db.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE more(x); INSERT INTO more VALUES(1)")
        .unwrap();
    let left = old.copy();
    drop(db);
    assert!(left.file("app.db-wal").metadata().unwrap().len() > 0);
    place.restore("p", &left.db(), &["--force"]).expect(0);
    assert_eq!(app::verify(&left.db()).unwrap().last_seq, 24);
    let names: Vec<_> = snapshot(left.path()).into_keys().collect();
    let note = left.file(".highwater/app.db/origin.json");
    assert_eq!(names, [note, left.db()], "nothing of the old database is left");
    volume.expect_same(&left.db());
}

/// The commonest runbook, in place, with an application that is quicker than its streamer: it goes on, from the newest state and from
/// an older one, without being told to, and every point from before stays what it was.
#[test]
fn p3_a_database_restored_in_place_goes_on_though_its_application_was_quicker() {
    for place in [Place::s3(), Place::directory()] {
        let volume = sample(&place, 3);
        let out = volume.file("restored.db");
        let before = place.txids("p");
        for (point, seq) in [(None, 36), (Some(before[0].as_str()), 12)] {
            let mut more = vec!["--force"];
            more.extend(point.into_iter().flat_map(|txid| ["--txid", txid]));
            place.restore("p", &volume.db(), &more).expect(0);
            assert_eq!(volume.last_seq(), seq);
            volume.write(5);
            Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
            assert_eq!(restored(&place, &out, &[]).2, seq + 5);
            volume.expect_same(&out);
        }
        let last = before.last().expect("points");
        assert_eq!(restored(&place, &out, &["--txid", last]).2, 36, "what was left behind is not lost");
    }
}
