//! A store that is slow, gone, refusing or lying: nothing is lost, nothing wrong comes back, and the bill stays small
//! (P1, P2, P6, P7).

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Outcome, PATIENCE, Place, Streamer, Volume, run};
use testkit::app::{self, AppArgs};
use testkit::procs::wait_until;
use testkit::rng::Rng;
use testkit::s3::{ACCESS_KEY, BUCKET};

const NONE: &[&str] = &[];
const FAST: &[&str] = &["--sync-interval", "50ms"];

#[track_caller]
fn comes_back(place: &Place, volume: &Volume) -> u64 {
    let restored = volume.file("restored.db");
    place.restore("p", &restored, &["--force"]).expect(0);
    volume.expect_same(&restored);
    app::verify(&restored).expect("a prefix of the plan").last_seq
}

/// A replica of several files.
fn sample(place: &Place, files: usize) -> Volume {
    let volume = Volume::new();
    for _ in 0..files.div_ceil(2) {
        volume.write(20);
        Streamer::once(place, "p", &volume.db(), NONE).expect(0);
    }
    volume
}

/// Nothing under the final name, and nothing beside it.
#[track_caller]
fn nothing_created(output: &Path) {
    let left: Vec<_> =
        fs::read_dir(output.parent().expect("it has a parent")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn p1_a_storm_of_503_is_survived() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    let durable = streamer.wait_beyond(0);
    place.server().faults().fail_next_with(5, 503, "SlowDown");
    volume.write(20);
    streamer.wait_beyond(durable);
    assert_eq!(place.server().faults().pending(), 0);
    streamer.drain();
    assert_eq!(comes_back(&place, &volume), 40);
}

/// While the store is down the application writes on; afterwards all of it goes in very few, larger files (P7).
#[test]
fn p7_an_outage_is_caught_up_in_few_files() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    let durable = streamer.wait_beyond(0);
    let before = place.files("p").len();
    place.server().faults().unavailable(true);
    app::run(&AppArgs { rate: 200.0, ..volume.args(400) }).expect("the application is not disturbed");
    assert!(streamer.proc.is_running());
    assert_eq!(streamer.durable(), durable, "nothing is called durable that is not");
    place.server().faults().unavailable(false);
    streamer.wait_beyond(durable);
    streamer.drain();
    let files = place.files("p").len() - before;
    assert!((1..=3).contains(&files), "{files} files for an outage of 400 transactions");
    assert_eq!(comes_back(&place, &volume), 420);
}

/// A stop during an outage says that not everything became durable; the next run makes it good.
#[test]
fn p1_a_drain_without_a_store_says_so() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), &["--drain", "500ms"]);
    streamer.wait_beyond(0);
    place.server().faults().unavailable(true);
    volume.write(5);
    streamer.proc.terminate();
    assert_eq!(streamer.proc.expect_exit(PATIENCE), 6, "{}", streamer.proc.log_tail());
    place.server().faults().unavailable(false);
    Streamer::once(&place, "p", &volume.db(), NONE).expect(0);
    assert_eq!(comes_back(&place, &volume), 25);
}

#[test]
fn wrong_credentials_at_the_start_are_one_line_and_2() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let out = volume.file("restored.db");
    for (access, secret) in [("somebody-else", "secret"), (ACCESS_KEY, "another secret")] {
        place.server().faults().set_credentials(access, secret);
        let streamer = Streamer::once(&place, "p", &volume.db(), NONE);
        streamer.expect(2).says(&["denied", "check the credentials"]);
        let restore = place.restore("p", &out, &["--if-replica-exists"]);
        restore.expect(2).says(&["denied", "check the credentials"]);
        assert!(!out.exists() && !restore.stderr.contains("nothing"), "P6: {}", restore.stderr);
    }
    assert!(place.objects("p").is_empty());
}

#[test]
fn p1_credentials_that_expire_for_a_while_do_not_end_the_streamer() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    let durable = streamer.wait_beyond(0);
    place.server().faults().expire_credentials(true);
    volume.write(10);
    streamer.wait_for("upload failed, it will be repeated");
    place.server().faults().expire_credentials(false);
    streamer.wait_beyond(durable);
    streamer.drain();
    assert_eq!(comes_back(&place, &volume), 30);
}

/// A missing bucket and an unmounted share say nothing about what they would hold (P6).
#[test]
fn p6_a_missing_bucket_is_not_an_empty_replica() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    let bucket = place.url("p").replace(BUCKET, "bucket-that-is-not-there");
    let share = format!("file://{}", volume.file("not-mounted").display());
    let out = volume.file("restored.db");
    for url in [bucket, share] {
        let mut command = place.command("wal-streamer");
        command.args(["replicate", "--once"]).arg(volume.db()).arg(&url);
        run(command).expect(2).says(&["does not exist"]);
        for more in [NONE, &["--if-replica-exists"]] {
            let mut command = place.command("restore");
            command.args(["sqlite", &url, "-o"]).arg(&out).args(more);
            let restore = run(command);
            restore.expect(2).says(&["does not exist"]);
            assert!(
                !restore.stderr.contains("holds no") && !restore.stderr.contains("nothing"),
                "{}",
                restore.stderr
            );
            assert!(!out.exists());
        }
    }
}

/// Credentials that may not list cannot prove an absence either (P6).
#[test]
fn p6_a_refused_listing_is_not_an_empty_replica() {
    let place = Place::s3();
    let volume = sample(&place, 1);
    let out = volume.file("restored.db");
    place.server().faults().deny_lists(true);
    place.restore("p", &out, &["--if-replica-exists"]).expect(2).says(&["denied"]);
    assert!(!out.exists());
    let before = place.objects("p");
    Streamer::once(&place, "p", &volume.db(), NONE).expect(2).says(&["denied"]);
    assert_eq!(place.objects("p"), before);
}

/// Plain http to anything but loopback needs `allow-http`: refused before a byte is sent.
#[test]
fn plain_http_beyond_loopback_sends_nothing() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(5);
    // 0.0.0.0 is no loopback address, and yet it reaches the server: a request would be counted.
    let url = place.url("p").replace("127.0.0.1", "0.0.0.0");
    let streamer = |url: &str| -> Outcome {
        let mut command = place.command("wal-streamer");
        command.args(["replicate", "--once"]).arg(volume.db()).arg(url);
        run(command)
    };
    streamer(&url).expect(2).says(&["plain http", "allow-http=true"]);
    let mut command = place.command("restore");
    command.args(["list", &url]);
    let restore = run(command);
    assert!(restore.expect(2).stderr.contains("allow-http=true"), "{}", restore.stderr);
    assert_eq!(place.server().counts().total(), 0);
    streamer(&format!("{url}&allow-http=true")).expect(0);
    assert!(place.server().counts().total() > 0);
}

/// Whatever single bit of whatever object flips: exit 4 with the name of the object, and no output.
#[test]
fn p2_a_flipped_bit_in_the_store_is_never_restored() {
    let place = Place::s3();
    let _volume = sample(&place, 5);
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("restored.db");
    let files = place.files("p");
    let mut rng = Rng::for_test(4);
    let mut flips: Vec<(PathBuf, u64)> = Vec::new();
    for file in &files {
        let size = fs::metadata(file).unwrap().len();
        flips.extend((0..6).map(|_| (file.clone(), rng.below(size))));
    }
    // Every field of the header of the newest file, which decides what the rest means.
    flips.extend((0..100).step_by(3).map(|offset| (files[files.len() - 1].clone(), offset)));
    let mut wrong = Vec::new();
    for (file, offset) in flips {
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        let bit = rng.below(8);
        bad[offset as usize] ^= 1 << bit;
        fs::write(&file, &bad).unwrap();
        let restore = place.restore("p", &out, NONE);
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if restore.exit != 4 || !restore.last_line().contains(&name) {
            wrong.push(format!(
                "{name} byte {offset} bit {bit}: exit {}: {}",
                restore.exit,
                restore.last_line()
            ));
        }
        nothing_created(&out);
        fs::write(&file, &good).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    place.restore("p", &out, NONE).expect(0);
}

#[test]
fn p2_a_truncated_object_is_never_restored() {
    let place = Place::s3();
    let volume = sample(&place, 3);
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("restored.db");
    for file in place.files("p") {
        let good = fs::read(&file).unwrap();
        for length in [0, 50, 100, good.len() / 2, good.len() - 1] {
            fs::write(&file, &good[..length.min(good.len() - 1)]).unwrap();
            let restore = place.restore("p", &out, NONE);
            restore.expect(4).says(&[file.file_name().unwrap().to_str().unwrap()]);
            nothing_created(&out);
        }
        fs::write(&file, &good).unwrap();
    }
    // A reply cut on the way is no damage: it is fetched again.
    place.server().faults().truncate_next_get(60);
    assert_eq!(comes_back(&place, &volume), 40);
}

/// A hole in the chain: the message names the newest provable TXID, and restoring that one works.
#[test]
fn p2_a_missing_object_names_what_is_provable() {
    let place = Place::s3();
    let _volume = sample(&place, 7);
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("restored.db");
    let (files, txids) = (place.files("p"), place.txids("p"));
    fs::remove_file(&files[4]).unwrap();
    let restore = place.restore("p", &out, NONE);
    restore.expect(4).says(&["replica damaged", &txids[4], "--txid"]);
    nothing_created(&out);
    place.restore("p", &out, &["--txid", &txids[4]]).expect(0);
    assert_eq!(app::verify(&out).unwrap().last_seq, 40);
    assert_eq!(place.txids("p"), txids[..5]);
    // A restore that succeeds leaves the database and the note of where it came from; one that fails leaves nothing.
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("restored.db");

    let image = format!("{0}-{0}.ltx", txids[0]);
    let objects = place.objects("p");
    fs::remove_file(objects.keys().find(|path| path.ends_with(&image)).unwrap()).unwrap();
    place.restore("p", &out, NONE).expect(4).says(&["no full image"]);
    nothing_created(&out);
}

/// Idle costs nothing, a commit one PUT, a restore one LIST, one GET per file, and three small ones: whose replica it is, and the newest header
/// for the plan and for the note.
#[test]
fn p7_requests_are_counted() {
    let (place, volume) = (Place::s3(), Volume::new());
    volume.write(20);
    let server = place.server();
    let mut streamer = Streamer::start(&place, "p", &volume.db(), FAST);
    let durable = streamer.wait_beyond(0);
    let quiet = |streamer: &mut Streamer, seconds| {
        assert!(streamer.proc.wait_timeout(Duration::from_secs(seconds)).is_none(), "it runs on");
    };
    server.reset();
    quiet(&mut streamer, 5);
    assert_eq!(server.counts().total(), 0, "idle: {:?}", server.log());
    volume.write(1);
    streamer.wait_beyond(durable);
    quiet(&mut streamer, 2);
    let counts = server.counts();
    assert_eq!((counts.put, counts.total()), (1, 1), "{:?}", server.log());
    streamer.drain();

    wait_until(PATIENCE, "files", || place.files("p").len() >= 2);
    let files = place.txids("p").len() as u64;
    server.reset();
    assert_eq!(comes_back(&place, &volume), 21);
    let counts = server.counts();
    assert_eq!((counts.list, counts.get, counts.total()), (1, files + 3, files + 4), "{:?}", server.log());
}
