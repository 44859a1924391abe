//! Random applications: several processes write, spill, roll back, vacuum and checkpoint while the tail copies.

use crate::app::App;
use crate::image::Image;
use crate::{Place, clock, full};
use clock::{IdGen, SeededIds};
use rusqlite::Connection;
use sqlite_tail::{Options, Tail};
use std::time::Duration;

const ACCOUNTS: u64 = 50;
const SCHEMA: [&str; 4] = [
    "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
    "CREATE TABLE junk(id INTEGER PRIMARY KEY, body BLOB)",
    "CREATE INDEX junk_body ON junk(substr(body, 1, 8))",
    "INSERT INTO account WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50) SELECT i, 100 FROM n",
];

/// `work <seed> <steps> <checkpoint mode or ->`: random transactions whose sum of balances never changes.
pub(crate) fn run(connection: &Connection, arguments: &str) -> Result<String, String> {
    let words: Vec<&str> = arguments.split(' ').collect();
    let (seed, steps, mode) = (words[0].parse().unwrap(), words[1].parse::<u32>().unwrap(), words[2]);
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection.execute_batch("PRAGMA cache_size=8").unwrap();
    let ids = SeededIds::new(seed);
    let mut refused = 0;
    for _ in 0..steps {
        match step(connection, &ids, mode) {
            Ok(()) => {}
            // SQLITE_BUSY_SNAPSHOT and the like: roll back as an application would.
            Err(error) => {
                refused += 1;
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK").map_err(|e| format!("{error}; {e}"))?;
                }
            }
        }
    }
    Ok(refused.to_string())
}

fn step(connection: &Connection, ids: &SeededIds, mode: &str) -> rusqlite::Result<()> {
    let roll = |below: u64| ids.next_u64() % below;
    let (from, to, amount) = (roll(ACCOUNTS) + 1, roll(ACCOUNTS) + 1, roll(10));
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection
        .execute("UPDATE account SET balance = balance - ?1 WHERE id = ?2", [amount as i64, from as i64])?;
    let rows = match roll(20) {
        0 => 150, // more than the cache holds: frames are spilled before the commit
        1..5 => 20,
        _ => 1,
    };
    for _ in 0..rows {
        let id = roll(400) as i64;
        connection
            .execute("INSERT OR REPLACE INTO junk VALUES(?1, randomblob(?2))", [id, roll(3000) as i64])?;
    }
    if roll(6) == 0 {
        connection.execute_batch(
            "SAVEPOINT s; DELETE FROM junk WHERE id % 3 = 0; UPDATE account SET balance = 7;",
        )?;
        connection.execute_batch("ROLLBACK TO s; RELEASE s")?;
    }
    if roll(8) == 0 {
        connection.execute("DELETE FROM junk WHERE id > ?1", [roll(400) as i64])?;
    }
    if roll(5) == 0 {
        return connection.execute_batch("ROLLBACK");
    }
    connection
        .execute("UPDATE account SET balance = balance + ?1 WHERE id = ?2", [amount as i64, to as i64])?;
    connection.execute_batch("COMMIT")?;
    match roll(60) {
        0 => connection.execute_batch("VACUUM")?,
        1..4 => connection.execute_batch("PRAGMA incremental_vacuum(5)")?,
        _ => {}
    }
    if mode != "-" && roll(4) == 0 {
        let mode =
            if mode == "ANY" { ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][roll(4) as usize] } else { mode };
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))?;
    }
    Ok(())
}

/// `storm <ms> <synchronous>`: as many small commits as fit; answers commits, slowest commit in µs.
pub(crate) fn storm(connection: &Connection, arguments: &str) -> Result<String, String> {
    let (ms, synchronous) = arguments.split_once(' ').unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.execute_batch(&format!("PRAGMA synchronous={synchronous}")).unwrap();
    let mut update = connection
        .prepare("UPDATE junk SET body = randomblob(300) WHERE id = ?1")
        .map_err(|e| e.to_string())?;
    let (clock, ids) = (clock(), SeededIds::new(1));
    let end = clock.monotonic_ns() + ms.parse::<u64>().unwrap() * 1_000_000;
    let (mut commits, mut slowest, mut now) = (0u64, 0, clock.monotonic_ns());
    while now < end {
        update.execute([(ids.next_u64() % 2000) as i64]).map_err(|e| e.to_string())?;
        let then = clock.monotonic_ns();
        slowest = slowest.max(then - now);
        now = then;
        commits += 1;
    }
    Ok(format!("{commits};{}", slowest / 1000))
}

fn found(app: &mut App, page_size: u32, auto_vacuum: &str) {
    app.sql(&format!("PRAGMA page_size={page_size}"));
    app.sql(&format!("PRAGMA auto_vacuum={auto_vacuum}"));
    app.sql("PRAGMA journal_mode=WAL");
    for sql in SCHEMA {
        app.sql(sql);
    }
}

/// P1 and P2 over a random run: every state the tail shows is one that existed (the balances add up), and the last
/// one is the file on disk.
fn random_run(seed: u64, page_size: u32, auto_vacuum: &str, apps: usize, steps: u32, mode: &str) {
    let place = Place::new();
    let mut children: Vec<App> = (0..apps).map(|_| App::open(&place.db())).collect();
    found(&mut children[0], page_size, auto_vacuum);
    let options = Options { checkpoint_frames: 60, barrier_max_frames: 40, ..Options::default() };
    let mut tail = Tail::attach(&place.db(), options, clock()).unwrap();
    assert_eq!(tail.page_size(), page_size);
    let mut image = Image::of(&mut tail);
    let ids = SeededIds::new(seed);
    // Again, should the applications have been done before the WAL was handed over once.
    for round in 0..5 {
        let done = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for (at, child) in children.iter_mut().enumerate() {
                let done = &done;
                scope.spawn(move || {
                    child
                        .ask(&format!("work {} {steps} {mode}", (seed + 1_000 * round) * 31 + at as u64))
                        .unwrap();
                    done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                });
            }
            let mut looks = 0u32;
            while done.load(std::sync::atomic::Ordering::SeqCst) < apps {
                tail.wait(Duration::from_millis(20));
                match ids.next_u64() % 4 {
                    0 => tail.copy_some(&mut image, 7).unwrap(),
                    _ => tail.copy(&mut image).unwrap(),
                };
                looks += 1;
                if looks.is_multiple_of(20) {
                    let sum: i64 = image
                        .check(&place.path("state.db"))
                        .query_row("SELECT sum(balance) FROM account", [], |row| row.get(0))
                        .unwrap();
                    assert_eq!(sum, 5000, "P2: a state that never existed");
                }
                if !ids.next_u64().is_multiple_of(3) {
                    tail.maintain(&mut image).unwrap();
                }
            }
        });
        if tail.stats().hand_overs > 0 {
            break;
        }
    }
    let stats = tail.stats().clone();
    image.equals_file_after(tail, &place.db());
    println!("seed {seed} page {page_size} mode {mode}: {stats:?}");
    assert!(stats.frames > 0 && stats.hand_overs > 0);
    // Whoever truncates waits until he may, and then the WAL is another.
    assert!(mode != "TRUNCATE" || stats.wal_restarts > 0);
}

#[test]
fn p1_p2_random_writers_page_4096() {
    random_run(1, 4096, "NONE", 3, 150, "-");
}

#[test]
fn p1_p2_random_writers_page_512_auto_vacuum() {
    random_run(2, 512, "FULL", 3, 100, "PASSIVE");
}

#[test]
fn p1_p2_random_writers_page_65536_incremental_vacuum() {
    random_run(3, 65_536, "INCREMENTAL", 2, 60, "FULL");
}

#[test]
fn p1_p2_random_writers_with_every_kind_of_checkpoint() {
    random_run(4, 4096, "INCREMENTAL", 3, 120, "ANY");
}

#[test]
fn p1_p2_random_writers_that_truncate() {
    random_run(5, 1024, "NONE", 2, 120, "TRUNCATE");
}

/// The same with many seeds; `SOAK_SEED` names another first one.
#[test]
fn p1_p2_soak() {
    if !full("takes minutes") {
        return;
    }
    let first = std::env::var("SOAK_SEED").map_or(100, |seed| seed.parse().unwrap());
    for seed in first..first + 40 {
        let size = 512 << (seed % 8);
        random_run(seed, size, ["NONE", "FULL", "INCREMENTAL"][seed as usize % 3], 3, 150, "ANY");
    }
}
