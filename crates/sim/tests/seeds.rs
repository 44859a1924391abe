//! A fixed number of seeds, and the proof that the simulator is what it says: repeatable, and in the way of every call.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seeds of the default tier and steps of each; the full tier runs many more (`cargo xtask sim --seeds 1..2000`).
const SEEDS: std::ops::RangeInclusive<u64> = 1..=60;
const STEPS: u64 = 400;

/// Upkeep takes turns by a number of the whole process, so simulations that ran side by side would wait for each other;
/// and the salts of all WALs of a process follow from one seed.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn passes(seed: u64, steps: u64) -> sim::Outcome {
    let _alone = alone();
    let outcome = sim::run(seed, steps);
    if let Some(failure) = &outcome.failure {
        let last = outcome.trace.len().saturating_sub(60);
        panic!(
            "{}\n{failure}\nagain: cargo xtask sim --seed {seed} --steps {steps}",
            outcome.trace[last..].join("\n")
        );
    }
    outcome
}

#[test]
fn p1_p2_p4_hold_for_a_fixed_number_of_seeds() {
    let mut seen = std::collections::BTreeMap::<&str, u64>::new();
    for seed in SEEDS {
        for (what, times) in passes(seed, STEPS).counts {
            *seen.entry(what).or_default() += times;
        }
    }
    // A simulation in which nothing happens proves nothing.
    for what in [
        "commits",
        "durable",
        "restores",
        "deaths of a pod",
        "losses of power",
        "deaths of a sidecar",
        "strays",
        "volumes lost",
        "volumes rolled back",
        "comparisons",
        "proven resumes",
        "merges",
        "prunings",
        "restores of a proven point",
        "growths without frames",
        "sealed worlds",
        "proofs from outside",
        "checks of names",
        "checks of bytes",
    ] {
        assert!(seen.get(what).is_some_and(|times| *times > 0), "{what} never happened: {seen:?}");
    }
    println!("{seen:?}");
}

/// Seeds that found something in the product once.
#[test]
fn seeds_that_failed_once_pass() {
    // A claim interrupted before the restore made the next start take an older database for the claimed state.
    passes(3, 500);
    // Two pods begin one replica: the second one's database was claimed for, and its claim fenced the first.
    passes(1, 500);
    passes(300, 500);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    // Every fourth is sealed.
    for seed in [7, 8, 9, 12] {
        assert_eq!(passes(seed, 300), passes(seed, 300));
    }
    assert_ne!(passes(7, 100).trace, passes(8, 100).trace);
}

/// The system calls of SQLite and of the standard library come by, else no crash would be simulated.
#[test]
fn every_write_and_sync_is_seen() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    sim::disk::begin(&[dir.path().to_owned()]);
    let mut file = File::create(dir.path().join("file")).unwrap();
    file.write_all(b"1").unwrap();
    file.sync_data().unwrap();
    assert_eq!(sim::disk::seen(), (2, 1), "a write and a sync of the standard library");
    let db = rusqlite::Connection::open(dir.path().join("db")).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(x)").unwrap();
    let (calls, syncs) = sim::disk::seen();
    db.execute_batch("INSERT INTO t VALUES(1)").unwrap();
    let (more_calls, more_syncs) = sim::disk::seen();
    assert_eq!(more_syncs - syncs, 1, "one sync per commit with synchronous=FULL");
    assert!(more_calls - calls >= 3, "frames and a sync, {}", more_calls - calls);
    drop(db);
    sim::disk::end();
}
