//! Numbers for the notes: `HIGHWATER_FULL=1 cargo test --release -- --nocapture measure`. They assert nothing about
//! time.

use crate::app::App;
use crate::image::Image;
use crate::{Place, attach, clock, full};
use std::time::Duration;

fn per_call(name: &str, times: u32, mut call: impl FnMut()) {
    let clock = clock();
    let began = clock.monotonic_ns();
    (0..times).for_each(|_| call());
    println!("{name}: {:.1} µs", (clock.monotonic_ns() - began) as f64 / f64::from(times) / 1000.0);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn measure_calls() {
    if !full("prints numbers") {
        return;
    }
    let place = Place::new();
    let mut app = App::open(&place.db());
    app.sql("PRAGMA journal_mode=WAL");
    app.sql("PRAGMA synchronous=NORMAL");
    app.sql("CREATE TABLE t(x)");
    let mut tail = attach(&place.db());
    let mut image = Image::of(&mut tail);
    per_call("look", 20_000, || assert!(!tail.look().unwrap().news));
    per_call("copy without news", 20_000, || assert_eq!(tail.copy(&mut image).unwrap().frames, 0));
    per_call("maintain at rest", 20_000, || assert_eq!(tail.maintain(&mut image).unwrap().frames, 0));
    per_call("wait, armed and disarmed", 2_000, || {
        tail.waker().wake();
        tail.wait(Duration::ZERO);
    });
    for _ in 0..500 {
        app.sql("INSERT INTO t VALUES(randomblob(100))");
        tail.copy(&mut image).unwrap();
        tail.maintain(&mut image).unwrap();
    }
    let spans = tail.stats().hand_over;
    println!(
        "hand-over: mean {:.1} µs, max {:.1} µs",
        spans.sum_ns as f64 / spans.count as f64 / 1e3,
        spans.max_ns as f64 / 1e3
    );
    app.exit();
}

/// Trap 14.
#[test]
fn measure_many_databases() {
    if !full("prints numbers") {
        return;
    }
    let place = Place::new();
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let paths: Vec<_> = (0..100).map(|at| place.path(&format!("{at}.db"))).collect();
    for path in &paths {
        let mut app = App::open(path);
        app.sql("PRAGMA journal_mode=WAL");
        app.sql("CREATE TABLE t(x)");
        app.exit();
    }
    let (memory, descriptors) = (resident_kib(), files());
    let mut tails: Vec<_> = paths.iter().map(|path| attach(path)).collect();
    for tail in &mut tails {
        tail.wait(Duration::from_millis(1));
    }
    println!(
        "100 databases: {} KiB and {} descriptors each",
        (resident_kib() - memory) as f64 / 100.0,
        (files() - descriptors) as f64 / 100.0
    );
}
