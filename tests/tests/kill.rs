//! SIGKILL at any moment, for streamer and restore: nothing but committed prefixes, nothing half (P1, P2).

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::fs;
use std::thread;
use std::time::Duration;

use e2e::{PATIENCE, Place, Streamer, Volume, full, kill_between_commits};
use testkit::app::{self, AppArgs, read_acks};
use testkit::procs::{Proc, bin, wait_until};
use testkit::rng::Rng;

/// The application writes on while its streamer is killed again and again. Every restore in between gives a committed
/// prefix that is never older than one before, nor than what a killed streamer had reported durable; at the end one
/// streamer drains, and everything is there.
///
/// The long version is 20 histories of 50 kills, with a restore after each of the 1,000.
#[test]
fn p2_kill9_never_yields_anything_but_a_committed_prefix() {
    let mut rng = Rng::for_test(20_261_121);
    let (histories, every) = if full() { (20, 1) } else { (1, 5) };
    for _ in 0..histories {
        history_with_kills(&mut rng, 50, every);
    }
}

/// One history: `kills` killed streamers, a restore after `every` so many.
fn history_with_kills(rng: &mut Rng, kills: u64, every: u64) {
    let (place, volume) = (Place::s3(), Volume::new());
    let acks = volume.file("acks");
    let args = AppArgs { writers: 2, rate: 150.0, ack_file: Some(acks.clone()), blob: 800, ..volume.args(0) };
    let mut application = Proc::bin("hw-app", args.to_args());
    wait_until(PATIENCE, "the first transactions", || read_acks(&acks).len() > 20);

    let (mut durable, mut restored_seq, mut followed) = (0, 0, 0);
    for kill in 1..=kills {
        let mut streamer = Streamer::start(&place, "p", &volume.db(), &["--sync-interval", "50ms"]);
        if rng.one_in(2) {
            let _ = streamer.proc.wait_timeout(Duration::from_millis(rng.below(150)));
        } else {
            let newest = streamer.wait_beyond(0);
            followed += 1;
            let more = newest + rng.below(2);
            wait_until(PATIENCE, "more to be durable", || streamer.durable() >= more);
            let _ = streamer.proc.wait_timeout(Duration::from_millis(rng.below(60)));
        }
        assert!(streamer.proc.is_running(), "kill {kill}: it ended by itself:\n{}", streamer.proc.log_tail());
        streamer.proc.kill9();
        durable = durable.max(streamer.durable());
        if kill % every == 0 && durable > 0 {
            let out = volume.file("restored.db");
            let restored = place.restore("p", &out, &["--force", "--format", "json"]);
            restored.expect(0);
            let told: serde_json::Value = serde_json::from_str(&restored.stdout).expect("JSON");
            assert_eq!(told["proven"], true, "compared with the rolling checksum");
            let txid = u64::from_str_radix(told["txid"].as_str().expect("a TXID"), 16).expect("hex");
            assert!(txid >= durable, "kill {kill}: TXID {durable} was reported durable, {txid} came back");
            let found = app::verify(&out).unwrap_or_else(|lie| panic!("kill {kill}: {lie}")).last_seq;
            assert!(found >= restored_seq, "kill {kill}: {found} after {restored_seq}");
            restored_seq = found;
        }
    }
    assert!(
        followed >= kills / 4 && durable > followed,
        "the kills hit working streamers: {followed}, {durable}"
    );

    let mut last = Streamer::start(&place, "p", &volume.db(), &["--sync-interval", "50ms"]);
    last.wait_beyond(0);
    kill_between_commits(&mut application, &volume.db());
    let acknowledged = read_acks(&acks).last().map_or(0, |ack| ack.seq);
    last.drain();
    let out = volume.file("restored.db");
    place.restore("p", &out, &["--force", "--integrity", "full"]).expect(0);
    let found = app::verify(&out).expect("a prefix of the plan").last_seq;
    assert!(found >= restored_seq, "{found} after {restored_seq}");
    assert!(found >= acknowledged, "{found}, acknowledged {acknowledged}");
    volume.expect_same(&out);
    println!("{kills} kills, {followed} of them while following; TXID {durable}, {found} transactions");
}

/// A killed restore leaves either no file under the final name or the whole one, and never hurts the file it replaces;
/// the next restore succeeds and cleans up.
#[test]
fn p2_a_killed_restore_leaves_no_half_file() {
    let mut rng = Rng::for_test(7);
    let kills = if full() { 200 } else { 20 };
    let (place, volume) = (Place::s3(), Volume::new());
    app::run(&AppArgs { blob: 20_000, ..volume.args(300) }).expect("the application works");
    Streamer::once(&place, "p", &volume.db(), &[]).expect(0);
    volume.write(10);
    Streamer::once(&place, "p", &volume.db(), &[]).expect(0);
    let whole = volume.file("whole.db");
    // Built before it is timed.
    bin("restore");
    let restore = || {
        let started = std::time::Instant::now();
        place.restore("p", &whole, &["--force"]).expect(0);
        started.elapsed()
    };
    let took = (0..3).map(|_| restore()).min().expect("three of them");
    let whole = fs::read(&whole).unwrap();
    let (mut killed, mut absent, mut tries) = (0, 0, 0);
    // More if too few are hit: how long one takes is only roughly known.
    while tries < kills || (killed < kills / 10 && tries < 10 * kills) {
        tries += 1;
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.db");
        let old = (tries % 2 == 1).then(|| b"the old database".to_vec());
        if let Some(old) = &old {
            fs::write(&out, old).unwrap();
        }
        let mut command = place.command("restore");
        command.arg("sqlite").arg(place.url("p")).arg("-o").arg(&out).arg("--force");
        let mut restore = Proc::start(command);
        thread::sleep(Duration::from_micros(rng.below(took.as_micros() as u64 * 2)));
        killed += u32::from(restore.is_running());
        restore.kill9();
        match fs::read(&out) {
            Ok(bytes) => assert!(bytes == whole || Some(&bytes) == old.as_ref(), "{} bytes", bytes.len()),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                absent += 1;
                let aside = fs::read(dir.path().join("out.db.replaced")).ok();
                assert_eq!(aside, old, "a replaced file is set aside until the new one is in place");
            }
        }
        place.restore("p", &out, &["--force"]).expect(0);
        assert!(fs::read(&out).unwrap() == whole);
        assert!(!dir.path().join("out.db.restoring").exists(), "nothing half is left");
    }
    assert!(killed >= kills / 10, "only {killed} of {tries} were killed in time");
    println!("{killed} of {tries} killed while they ran, {absent} times no file yet");
}
