//! The application is only worth something when its verifier sees every planted lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::{AppArgs, Checkpoint, compare_dbs, db_digest, read_acks, run, run_until, verify};

fn sample(transactions: u64) -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let db = scratch.path().join("app.db");
    run(&AppArgs { transactions, ..AppArgs::new(&db) }).unwrap();
    (scratch, db)
}

fn sql(db: &Path, statements: &str) {
    Connection::open(db).unwrap().execute_batch(statements).unwrap();
}

#[test]
fn the_prefix_does_not_depend_on_who_wrote_it() {
    let (_one, single) = sample(250);
    let scratch = tempfile::tempdir().unwrap();
    let (db, ack_file) = (scratch.path().join("app.db"), Some(scratch.path().join("acks")));
    let args = AppArgs { writers: 4, readers: 1, transactions: 200, ack_file, ..AppArgs::new(&db) };
    let report = run(&args).unwrap();
    assert_eq!((report.committed, report.last_seq, report.latencies.len()), (200, 200, 200));
    assert_eq!(verify(&db).unwrap().last_seq, 200);
    run(&AppArgs { transactions: 50, seed: 99, ..args.clone() }).unwrap();
    let proven = verify(&db).unwrap();
    assert_eq!(proven, verify(&single).unwrap());
    assert!(proven.documents > 100 && proven.events > 300 && proven.accounts > 300, "{proven}");
    let acks = read_acks(args.ack_file.as_deref().unwrap());
    assert_eq!(acks.iter().map(|ack| ack.seq).collect::<Vec<_>>(), (1..=250).collect::<Vec<_>>());
    assert!(compare_dbs(&db, &single).unwrap().same_rows());
    assert_eq!(db_digest(&db).unwrap(), db_digest(&single).unwrap());
}

#[test]
fn every_kind_of_checkpoint_and_vacuum_keeps_the_plan() {
    for (checkpoint, auto_vacuum, page_size, sync_full) in [
        (Checkpoint::None, "none", 512, false),
        (Checkpoint::Passive, "full", 4096, true),
        (Checkpoint::Full, "incremental", 1024, false),
        (Checkpoint::Restart, "incremental", 65536, false),
        (Checkpoint::Truncate, "full", 8192, false),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let db = scratch.path().join("app.db");
        let auto_vacuum = auto_vacuum.to_owned();
        let (writers, checkpoint_every) = (2, 10);
        let args = AppArgs {
            checkpoint,
            checkpoint_every,
            auto_vacuum,
            page_size,
            sync_full,
            writers,
            ..AppArgs::new(&db)
        };
        run(&args).unwrap();
        assert_eq!(verify(&db).unwrap().last_seq, 100);
        let reader = Connection::open(&db).unwrap();
        let found: u32 = reader.query_row("PRAGMA page_size", (), |row| row.get(0)).unwrap();
        assert_eq!(found, page_size);
        let args_again = AppArgs::parse(args.to_args()).unwrap();
        assert_eq!(format!("{args_again:?}"), format!("{args:?}"));
    }
}

#[test]
fn planted_lies_are_found() {
    let lies = [
        // A half of the next transaction, or of the last one.
        "INSERT INTO event VALUES (151, 0, 1, 1)",
        "DELETE FROM event WHERE (seq, k) = (SELECT max(seq), 0 FROM event)",
        "DELETE FROM ledger WHERE seq = 150",
        "DELETE FROM ledger WHERE seq = 77",
        "INSERT INTO ledger SELECT seq + 1, events, sum, total, documents, digest FROM ledger WHERE seq = 150",
        "UPDATE account SET balance = balance + 1 WHERE id = (SELECT max(id) FROM account)",
        "UPDATE account SET last_seq = last_seq - 1 WHERE last_seq = (SELECT max(last_seq) FROM account)",
        "DELETE FROM account WHERE id = (SELECT min(id) FROM account)",
        "UPDATE document SET body = zeroblob(length(body)) WHERE id = (SELECT max(id) FROM document)",
        "UPDATE document SET seq = seq - 1 WHERE id = (SELECT max(id) FROM document)",
        "DELETE FROM document WHERE id = (SELECT max(id) FROM document)",
        "INSERT INTO document VALUES (5000, 150, x'00')",
        "UPDATE shape SET seed = 2",
    ];
    let (_scratch, db) = sample(150);
    assert_eq!(verify(&db).unwrap().last_seq, 150);
    for lie in lies {
        let copy = db.with_extension("lie");
        fs::copy(&db, &copy).unwrap();
        sql(&copy, lie);
        let error = verify(&copy).expect_err(lie);
        assert!(
            error.contains("expected") || error.contains("document") || error.contains("not be there"),
            "{error}"
        );
        assert!(!compare_dbs(&db, &copy).unwrap().same_rows(), "{lie}");
    }
}

#[test]
fn broken_files_are_not_proven() {
    let (_scratch, db) = sample(150);
    let bytes = fs::read(&db).unwrap();
    let torn = db.with_extension("torn");
    fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    assert!(verify(&torn).is_err());
    let mut old = bytes.clone();
    let page = 4096 * 20;
    old[page..page + 4096].fill(0);
    fs::write(&torn, &old).unwrap();
    assert!(verify(&torn).is_err());
    let comparison = compare_dbs(&db, &torn);
    assert!(comparison.map_or(true, |found| found.differing_pages == [21]));
    assert!(verify(&db.with_extension("none")).is_err());
    fs::write(&torn, b"").unwrap();
    assert_eq!(verify(&torn).unwrap().last_seq, 0);
}

#[test]
fn verification_leaves_no_files_behind_and_runs_beside_writers() {
    let (scratch, db) = sample(20);
    verify(&db).unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let args = AppArgs { transactions: 0, writers: 2, rate: 500.0, ..AppArgs::new(&db) };
        let app = scope.spawn({
            let stop = &stop;
            move || run_until(&args, stop).unwrap()
        });
        let (mut last, mut looks) = (20, 0);
        // Ten looks, more until the writers have done enough for a rate.
        while looks < 10 || (last < 60 && looks < 1_000) {
            looks += 1;
            thread::sleep(Duration::from_millis(20));
            let found = verify(&db).unwrap().last_seq;
            assert!(found >= last);
            last = found;
        }
        stop.store(true, Ordering::SeqCst);
        let report = app.join().unwrap();
        assert!(report.last_seq >= last && last > 20);
        assert!(report.rate() < 700.0, "{}", report.rate());
    });
}

#[test]
fn pages_are_compared_as_bytes_and_rows_as_values() {
    let (_scratch, db) = sample(30);
    let copy = db.with_extension("copy");
    fs::copy(&db, &copy).unwrap();
    let same = compare_dbs(&db, &copy).unwrap();
    assert!(same.same_bytes() && same.same_rows() && same.page_size == 4096, "{same}");
    sql(&copy, "PRAGMA journal_mode = delete; VACUUM");
    let moved = compare_dbs(&db, &copy).unwrap();
    assert!(!moved.same_bytes() && moved.same_rows(), "{moved}");
    assert_eq!(db_digest(&db).unwrap(), db_digest(&copy).unwrap());
    sql(&copy, "CREATE TABLE more(a)");
    assert!(!compare_dbs(&db, &copy).unwrap().same_schema);
}
