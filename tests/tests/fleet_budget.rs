//! What many idle databases cost. Figures are those of the binaries that run: for those of a release build say
//! `cargo xtask dist` and
//! `HIGHWATER_BIN_DIR=$PWD/target/x86_64-unknown-linux-musl/dist cargo test -p e2e --features full --test fleet_budget -- --nocapture --test-threads 1`.

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::{Place, Volume};
use rusqlite::Connection;
use testkit::procs::{Proc, wait_until};

/// Long enough for a thousand first images on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Idle databases, and a streamer that has taken in all of them.
fn idle(place: &Place, volume: &Volume, databases: usize) -> Proc {
    for n in 0..databases {
        let path = volume.path().join(format!("tenants/{:02}/{n:04}.db", n % 20));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA journal_mode=wal; PRAGMA synchronous=off; CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(20000))")
            .unwrap();
    }
    let config = volume.file("protect.yaml");
    let text = format!(
        "app: fleet\nreplica: '{}'\nroot: {}\ndatabases: [{{path: 'tenants/**/*.db'}}]\n",
        place.url("p"),
        volume.path().display()
    );
    fs::write(&config, text).unwrap();
    let mut command = place.command("wal-streamer");
    // The access probe, one request every five minutes, is counted apart.
    command
        .args(["replicate", "--probe-interval", "off", "--config"])
        .arg(&config)
        .env("HIGHWATER_LOG", "info");
    let began = Instant::now();
    let streamer = Proc::start(command);
    wait_until(PATIENCE, "all databases", || streamer.log().matches("\"claimed\"").count() >= databases);
    println!("{databases} databases: all taken in after {:.1} s", began.elapsed().as_secs_f64());
    // At rest is a replica whose first image was read back.
    wait_until(PATIENCE, "a proof of each", || {
        streamer.log().matches("\"restore point\"").count() >= databases
    });
    println!("all read back after {:.1} s", began.elapsed().as_secs_f64());
    sleep(Duration::from_secs(70));
    streamer
}

/// CPU time so far, s.
fn cpu(streamer: &Proc) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", streamer.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// A line of `/proc/<pid>/status`, in its unit.
fn status(streamer: &Proc, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", streamer.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Percent of one core, and requests, over `time`.
fn at_rest(place: &Place, streamer: &Proc, time: Duration) -> (f64, u64) {
    let (before, requests) = (cpu(streamer), place.server().counts().total());
    sleep(time);
    let percent = (cpu(streamer) - before) / time.as_secs_f64() * 100.0;
    let requests = place.server().counts().total() - requests;
    let files = fs::read_dir(format!("/proc/{}/fd", streamer.id())).unwrap().count();
    println!(
        "at rest: RSS {:.1} MiB (highest {:.1}), {} threads, {files} files, {percent:.2} % of one core, {requests} requests",
        status(streamer, "VmRSS") as f64 / 1024.0,
        status(streamer, "VmHWM") as f64 / 1024.0,
        status(streamer, "Threads"),
    );
    (percent, requests)
}

/// The budget, for optimised builds (decision 0005). A debug build has three times the code.
#[test]
fn p7_a_thousand_databases_stay_below_a_ceiling() {
    let (place, volume) = (Place::s3(), Volume::new());
    let mut streamer = idle(&place, &volume, 1_000);
    let (_, requests) = at_rest(&place, &streamer, Duration::from_secs(30));
    assert_eq!(requests, 0);
    let optimised = std::env::var_os("HIGHWATER_BIN_DIR").is_some();
    assert!(status(&streamer, "VmRSS") <= if optimised { 64 << 10 } else { 96 << 10 });
    assert!(status(&streamer, "Threads") <= 250);
    streamer.terminate();
    assert_eq!(streamer.expect_exit(Duration::from_secs(60)), 0, "{}", streamer.log_tail());
}

#[test]
fn p7_a_hundred_idle_databases_take_one_percent_of_a_core() {
    let (place, volume) = (Place::s3(), Volume::new());
    let streamer = idle(&place, &volume, 100);
    let (percent, requests) = at_rest(&place, &streamer, Duration::from_secs(60));
    assert_eq!(requests, 0);
    assert!(percent <= 1.0, "{percent:.2} %");
}
