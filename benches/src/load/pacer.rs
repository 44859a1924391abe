//! An application of one connection whose transactions are as small as they get: one row of 100 bytes, one commit, so many a second.
//!
//! Whoever falls behind the pace catches up as fast as it can, so that a pause of a second shows in the latencies and not in the rate.

use crate::sample::Sample;
use anyhow::{Context, Result, anyhow};
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Shortest sleep.
const NAP: Duration = Duration::from_micros(200);

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    /// Commits per second.
    pub(crate) rate: f64,
    /// Seconds from BEGIN IMMEDIATE to the end of COMMIT.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// A running application.
pub(crate) struct Pacer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Paced>>,
}

impl Pacer {
    /// Begins; `rate` 0 is as fast as it can.
    pub(crate) fn start(db: &Path, rate: f64) -> Pacer {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (db.to_owned(), stop.clone());
        Pacer { stop, thread: thread::spawn(move || write(path, rate, &stopped)) }
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Result<Paced> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the application panicked"))?
    }

    /// Starts it, and ends it after this time.
    pub(crate) fn run(db: &Path, rate: f64, time: Duration) -> Result<Paced> {
        let pacer = Pacer::start(db, rate);
        thread::sleep(time);
        pacer.finish()
    }
}

/// Makes the table; the database is one in WAL mode afterwards.
pub(crate) fn prepare(db: &Path) -> Result<()> {
    let db = Connection::open(db)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.execute_batch("CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, text TEXT NOT NULL)")?;
    Ok(())
}

fn write(path: PathBuf, rate: f64, stop: &AtomicBool) -> Result<Paced> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(60))?;
    db.pragma_update(None, "synchronous", "normal")?;
    let begun = Instant::now();
    let (mut latencies, mut commits) = (Vec::new(), 0_u32);
    while !stop.load(Ordering::Relaxed) {
        let due = if rate > 0.0 { f64::from(commits) / rate } else { 0.0 };
        let early = due - begun.elapsed().as_secs_f64();
        if early > 0.0 {
            thread::sleep(Duration::from_secs_f64(early).max(NAP));
            continue;
        }
        let at = Instant::now();
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let text = format!("{commits:0100}");
        transaction.prepare_cached("INSERT INTO entry(text) VALUES (?1)")?.execute([text])?;
        transaction.commit()?;
        latencies.push(at.elapsed().as_secs_f64());
        commits += 1;
    }
    let rate = f64::from(commits) / begun.elapsed().as_secs_f64();
    let sample = Sample::of(latencies).context("no commit at all")?;
    Ok(Paced { rate, p50: sample.median(), p99: sample.p99(), max: sample.quantile(1.0) })
}
