//! The run: writers that execute the next transaction of the plan, readers that hold snapshots, checkpoints.
//!
//! A writer takes the write lock, reads the last row of the ledger and does what the plan says for the next number.
//! Now and then one is rolled back first, after it wrote enough to spill, so that the WAL also holds frames that
//! never were committed. SQLITE_BUSY is waited out and counted: a replica must not make it frequent (P5).

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};

use super::acks;
use super::args::{AppArgs, Checkpoint};
use super::plan::{DocumentOp, Effects, Shape, body};
use super::schema;
use crate::rng::Rng;

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct AppReport {
    /// Transactions committed.
    pub committed: u64,
    /// The last of them.
    pub last_seq: u64,
    /// Times a statement came back busy (after 5 s of waiting inside SQLite, or at once for checkpoints).
    pub busy: u64,
    /// Of the whole run.
    pub elapsed: Duration,
    /// From BEGIN to the end of COMMIT, sorted.
    pub latencies: Vec<Duration>,
}

impl AppReport {
    /// Commits per second.
    pub fn rate(&self) -> f64 {
        self.committed as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The latency that this share (0 to 1) of the transactions kept.
    pub fn latency(&self, share: f64) -> Duration {
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

struct Run<'a> {
    args: &'a AppArgs,
    acks: Option<File>,
    stop: &'a AtomicBool,
    started: Instant,
    slots: AtomicU64,
    busy: AtomicU64,
    done: Mutex<AppReport>,
}

/// Runs the application until its transactions or seconds are over.
pub fn run(args: &AppArgs) -> Result<AppReport, String> {
    run_until(args, &AtomicBool::new(false))
}

/// As [`run`], and until `stop` is set.
pub fn run_until(args: &AppArgs, stop: &AtomicBool) -> Result<AppReport, String> {
    let acks = args.ack_file.as_deref().map(acks::open).transpose().map_err(|error| error.to_string())?;
    // Created before the clock starts and the writers race for it.
    let (keeper, _) = schema::open(args).map_err(|error| format!("{}: {error}", args.db.display()))?;
    let run = Run {
        args,
        acks,
        stop,
        started: Instant::now(),
        slots: AtomicU64::new(0),
        busy: AtomicU64::new(0),
        done: Mutex::default(),
    };
    let written = AtomicBool::new(false);
    let outcome: Result<Vec<()>, String> = thread::scope(|scope| {
        let readers: Vec<_> = (0..args.readers)
            .map(|_| scope.spawn(|| run.read(&written).map_err(|e| e.to_string())))
            .collect();
        let writers: Vec<_> = (0..args.writers)
            .map(|id| {
                scope.spawn({
                    let run = &run;
                    move || run.write(id).map_err(|error| format!("writer {id}: {error}"))
                })
            })
            .collect();
        let wrote: Vec<_> =
            writers.into_iter().map(|writer| writer.join().expect("writers return errors")).collect();
        written.store(true, Ordering::SeqCst);
        let read = readers.into_iter().map(|reader| reader.join().expect("readers return errors"));
        wrote.into_iter().chain(read).collect()
    });
    outcome?;
    let mut report = run.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.elapsed = run.started.elapsed();
    report.busy = run.busy.into_inner();
    report.latencies.sort();
    drop(keeper);
    Ok(report)
}

impl Run<'_> {
    /// Waits for the next slot of the rate; false when the run is over.
    fn turn(&self) -> bool {
        let slot = self.slots.fetch_add(1, Ordering::SeqCst);
        let mut over = self.args.transactions > 0 && slot >= self.args.transactions;
        let due = match self.args.rate > 0.0 {
            true => Duration::from_secs_f64(slot as f64 / self.args.rate),
            false => Duration::ZERO,
        };
        loop {
            let elapsed = self.started.elapsed();
            over |= self.stop.load(Ordering::SeqCst)
                || self.args.seconds > 0 && elapsed >= Duration::from_secs(self.args.seconds);
            if over || elapsed >= due {
                return !over;
            }
            thread::sleep((due - elapsed).min(Duration::from_millis(20)));
        }
    }

    fn write(&self, id: u32) -> rusqlite::Result<()> {
        let (mut db, shape) = self.patiently(|| schema::open(self.args))?;
        let mut chance = Rng::of(&[shape.seed, u64::from(id), 0xc4a4ce]);
        let (mut own, mut latencies, mut last) = (0, Vec::new(), 0);
        while self.turn() {
            if self.args.rollback_one_in > 0 && chance.one_in(self.args.rollback_one_in) {
                self.patiently(|| doomed(&mut db, &shape))?;
            }
            let start = Instant::now();
            last = self.patiently(|| transact(&mut db, &shape))?;
            latencies.push(start.elapsed());
            if let Some(file) = &self.acks {
                acks::append(file, last).expect("the ack file can be written");
            }
            own += 1;
            if own % self.args.checkpoint_every.max(1) == 0 {
                self.checkpoint(&db)?;
            }
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.committed += own;
        done.last_seq = done.last_seq.max(last);
        done.latencies.extend(latencies);
        Ok(())
    }

    fn checkpoint(&self, db: &Connection) -> rusqlite::Result<()> {
        if self.args.auto_vacuum == "incremental" {
            self.patiently(|| db.execute_batch("PRAGMA incremental_vacuum(8)"))?;
        }
        let mode = match self.args.checkpoint {
            Checkpoint::Auto | Checkpoint::None => return Ok(()),
            mode => format!("{mode:?}"),
        };
        let busy = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| row.get::<_, i64>(0));
        match busy {
            Ok(busy) => self.busy.fetch_add(u64::from(busy != 0), Ordering::SeqCst),
            Err(error) if is_busy(&error) => self.busy.fetch_add(1, Ordering::SeqCst),
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Repeats while another connection is in the way.
    fn patiently<T>(&self, mut step: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        loop {
            match step() {
                Err(error) if is_busy(&error) && !self.stop.load(Ordering::SeqCst) => {
                    self.busy.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }

    /// Holds snapshots for some milliseconds each, and finds the same ledger twice in each of them.
    fn read(&self, written: &AtomicBool) -> rusqlite::Result<()> {
        let (mut db, _) = self.patiently(|| schema::open(self.args))?;
        while !written.load(Ordering::SeqCst) {
            let snapshot = db.transaction()?;
            let last = |db: &Connection| {
                db.query_row("SELECT max(seq), count(*) FROM ledger", (), |row| {
                    Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?))
                })
            };
            let before = last(&snapshot)?;
            thread::sleep(Duration::from_millis(5));
            assert_eq!(last(&snapshot)?, before, "a snapshot changed");
            assert_eq!(before.0.unwrap_or(0), before.1, "the ledger has a gap");
        }
        Ok(())
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Executes the next transaction of the plan; its number.
fn transact(db: &mut Connection, shape: &Shape) -> rusqlite::Result<u64> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT seq, total, digest FROM ledger ORDER BY seq DESC LIMIT 1";
    let last = transaction
        .prepare_cached(sql)?
        .query_row((), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?)))
        .optional()?;
    let (seq, total, digest) = last.unwrap_or_default();
    let effects = Effects::of(shape, seq as u64 + 1);
    apply(&transaction, shape, &effects)?;
    transaction.prepare_cached("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute((
        effects.seq as i64,
        effects.events.len() as i64,
        effects.sum(),
        total + effects.sum(),
        effects.documents.len() as i64,
        effects.chain(&digest),
    ))?;
    transaction.commit()?;
    Ok(effects.seq)
}

/// Writes more than the page cache holds, then thinks better of it.
fn doomed(db: &mut Connection, shape: &Shape) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut effects = Effects::of(shape, u64::from(u32::MAX));
    effects.documents = (0..40).map(|id| DocumentOp { id, size: Some(8000) }).collect();
    apply(&transaction, shape, &effects)?;
    transaction.rollback()
}

fn apply(db: &Transaction<'_>, shape: &Shape, effects: &Effects) -> rusqlite::Result<()> {
    let seq = effects.seq as i64;
    for (k, (account, amount)) in effects.events.iter().enumerate() {
        db.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4)")?.execute((
            seq,
            k as i64,
            *account as i64,
            amount,
        ))?;
        db.prepare_cached(
            "INSERT INTO account VALUES (?1, ?2, ?3)
             ON CONFLICT(id) DO UPDATE SET balance = balance + ?2, last_seq = ?3",
        )?
        .execute((*account as i64, amount, seq))?;
    }
    if let Some(forget) = effects.forget {
        db.prepare_cached("DELETE FROM event WHERE seq = ?1")?.execute([forget as i64])?;
    }
    for op in &effects.documents {
        match op.size {
            None => db.prepare_cached("DELETE FROM document WHERE id = ?1")?.execute([op.id as i64])?,
            Some(_) => db
                .prepare_cached("INSERT OR REPLACE INTO document VALUES (?1, ?2, ?3)")?
                .execute((op.id as i64, seq, body(shape, effects.seq, op)))?,
        };
    }
    Ok(())
}
