//! A stop has a deadline (`--drain`), and keeps it whatever the store does: each request of a start, of a restart over something that is still to
//! be sent, of a large first image and of following hangs in its turn, and the streamer is told to end (P7). Nothing that hangs is called
//! durable, and the next run makes it good (P1).

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::time::{Duration, Instant};

use e2e::{PATIENCE, Place, Streamer, Volume};
use rusqlite::Connection;
use testkit::procs::wait_until;
use testkit::s3::{Action, Rule};

const NONE: &[&str] = &[];
const ARGUMENTS: &[&str] = &["--sync-interval", "50ms", "--drain", "400ms", "--listen", "off"];
/// What a busy machine may take beside the deadline. Giving up a request takes half a minute.
const SLACK: Duration = Duration::from_secs(20);

/// Every request from the one after `first` hangs.
fn hang(place: &Place, first: u64) {
    let skip = u32::try_from(first).expect("a start has few requests");
    place.server().faults().clear();
    place.server().faults().add(Rule { skip, ..Rule::any(10_000, Action::Hang) });
    place.server().reset();
}

/// Starts a streamer whose requests hang from the one after `first`, and ends it as soon as one does.
#[track_caller]
fn ends_in_time(place: &Place, volume: &Volume, first: u64) {
    hang(place, first);
    let streamer = Streamer::start(place, "p", &volume.db(), ARGUMENTS);
    end(place, streamer, first);
}

#[track_caller]
fn end(place: &Place, mut streamer: Streamer, first: u64) {
    wait_until(PATIENCE, "a request to hang", || {
        assert!(streamer.proc.is_running(), "{}", streamer.proc.log_tail());
        place.server().counts().total() > first
    });
    let begun = Instant::now();
    streamer.proc.terminate();
    let exit = streamer.proc.expect_exit(PATIENCE);
    let took = begun.elapsed();
    let which = place.server().log().last().map(|r| format!("{} {}", r.method, r.key));
    println!("request {first} hangs ({which:?}): exit {exit} after {took:?}");
    assert_eq!(exit, 6, "{}", streamer.proc.log_tail());
    assert!(took < SLACK, "{took:?} after request {first}:\n{}", streamer.proc.log_tail());
}

/// Requests of a start that nothing disturbs, until all is durable.
fn requests_of_a_start(place: &Place, volume: &Volume) -> u64 {
    place.server().faults().clear();
    place.server().reset();
    Streamer::once(place, "p", &volume.db(), NONE).expect(0);
    place.server().counts().total()
}

#[track_caller]
fn comes_back(place: &Place, volume: &Volume) {
    requests_of_a_start(place, volume);
    let out = volume.file("restored.db");
    place.restore("p", &out, &["--force"]).expect(0);
    volume.expect_same(&out);
}

#[test]
fn p7_a_stop_ends_in_time_whatever_request_of_a_start_hangs() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let all = requests_of_a_start(&place, &volume);
    assert!(all >= 4, "{all} requests");
    for first in 0..all {
        let (place, volume) = (Place::s3(), Volume::new());
        volume.write(20);
        ends_in_time(&place, &volume, first);
        if first + 1 == all {
            // And once more, over what was left to be sent.
            volume.write(5);
            (0..4).for_each(|first| ends_in_time(&place, &volume, first));
            comes_back(&place, &volume);
        }
    }
}

/// An image that is streamed in parts, and one part after the other hangs.
#[test]
fn p7_a_stop_ends_in_time_in_the_middle_of_a_large_image() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let db = Connection::open(volume.db()).expect("the database opens");
    db.execute_batch("CREATE TABLE ballast(x); INSERT INTO ballast VALUES(randomblob(20000000))")
        .expect("ballast");
    drop(db);
    let all = requests_of_a_start(&place, &volume);
    assert!(all >= 7, "{all} requests: it was not sent in parts");
    let (place, left) = (Place::s3(), volume.copy());
    std::fs::remove_dir_all(left.file(".highwater")).expect("a volume that remembers nothing");
    for first in (4..all - 1).step_by(2) {
        place.server().faults().clear();
        std::fs::remove_dir_all(place.server().dir().join("p")).ok();
        std::fs::remove_dir_all(left.file(".highwater")).ok();
        ends_in_time(&place, &left, first);
    }
    comes_back(&place, &left);
}

/// There is more in the WAL than can be copied until the deadline: what is not durable then is said not to be.
#[test]
fn p7_a_stop_ends_in_time_although_the_wal_is_large() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), ARGUMENTS);
    streamer.wait_beyond(0);
    streamer.pause();
    let db = Connection::open(volume.db()).expect("the database opens");
    db.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = off; CREATE TABLE ballast(x)")
        .expect("a table");
    for _ in 0..12 {
        db.execute_batch("INSERT INTO ballast VALUES(randomblob(10000000))").expect("ballast");
    }
    streamer.resume();
    let begun = Instant::now();
    streamer.proc.terminate();
    let exit = streamer.proc.expect_exit(PATIENCE);
    let took = begun.elapsed();
    println!("120 MB in the WAL: exit {exit} after {took:?}");
    // A quick machine may be done in time.
    assert!([0, 6].contains(&exit), "{}", streamer.proc.log_tail());
    assert!(took < SLACK, "{took:?}:\n{}", streamer.proc.log_tail());
    drop(db);
    comes_back(&place, &volume);
}

#[test]
fn p7_a_stop_ends_in_time_while_a_commit_hangs() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), ARGUMENTS);
    streamer.wait_beyond(0);
    streamer.wait_for("\"durable\"");
    let before = streamer.durable();
    hang(&place, 0);
    volume.write(5);
    wait_until(PATIENCE, "the commit to hang", || place.server().counts().put > 0);
    assert!(streamer.durable() >= before);
    end(&place, streamer, 0);
    comes_back(&place, &volume);
}
