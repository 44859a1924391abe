//! The writer of one database: a thread beside the application that copies, stages, sends and confirms.
//!
//! ```text
//! start:  attach -> list -> decide -> (image | resume | compare) -> claim
//! loop:   wait -> look -> copy to the batch -> hold the newest mark, checkpoint -> stage -> send -> confirm
//! ```
//! One object is in flight at a time; meanwhile commits gather in the batch, so a slow store makes files larger, not more
//! numerous. Copying never waits for the store, so the application's checkpoints do not either (P5).

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::layout::Layout;
use crate::state::{Intent, Mark, Record, StateDir};
use crate::table::PageTable;
use crate::write::event::Event;
use crate::write::send::{self, Body, send};
use crate::write::stage::{self, Next};
use clock::{Clock, IdGen};
use ltx::{Extension, Txid};
use sqlite_tail::{Options, Position, Tail};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The longest sleep without looking: events may be missed (network mounts, overflow).
const SAFETY_POLL: Duration = Duration::from_secs(1);
/// Pause between copies while commits keep coming, so that following costs the application little.
const PACE: Duration = Duration::from_millis(4);

/// Staged files up to this size stay until the next one replaces them.
const KEEP_STAGED: u64 = 16 << 20;

/// Pause after staging failed for lack of space.
const STAGE_AGAIN: Duration = Duration::from_secs(2);

/// What to replicate, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database file.
    pub database: PathBuf,
    /// URL of the replica, for messages.
    pub replica: String,
    /// Who claims it.
    pub identity: Identity,
    /// At most one level 0 file per this time.
    pub sync_interval: Duration,
    /// How long a stop may take to make the rest durable.
    pub drain: Duration,
    /// The operator says that this database continues the replica.
    pub adopt: bool,
    /// Make everything durable, then end.
    pub once: bool,
    /// A rollback-journal database may be converted to WAL.
    pub convert_to_wal: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Everything committed before the stop is durable.
    Complete,
    /// The deadline came first.
    Partial,
}

/// Receives [`Event`]s.
pub(super) type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// Follows `config.database` into `store` until `stop` turns true, or once.
pub async fn run(
    config: Config,
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    events: Events,
    stop: watch::Receiver<bool>,
) -> Result<Finish> {
    let runtime = Handle::current();
    let (done, ended) = tokio::sync::oneshot::channel();
    let work = move || {
        let finish = Engine::start(config, store, clock, ids, events, stop, runtime).and_then(Engine::follow);
        let _ = done.send(match finish {
            Err(Error::Stopped) => Ok(Finish::Partial),
            other => other,
        });
    };
    std::thread::Builder::new().name("tail".into()).spawn(work).map_err(|source| Error::Io {
        path: PathBuf::from("tail"),
        doing: "start the thread",
        source,
    })?;
    ended.await.expect("the tail thread sends its result before it ends")
}

/// Everything one writer holds.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGen>,
    pub(crate) events: Events,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) runtime: Handle,
    pub(crate) layout: Layout,
    pub(crate) tail: Tail,
    pub(crate) state: StateDir,
    pub(crate) table: PageTable,
    pub(crate) batch: Batch,
    /// What the volume knows; written before each PUT.
    pub(crate) record: Record,
    /// When the oldest commit of the batch was seen, monotonic and wall clock.
    pub(crate) batch_since: Option<(u64, i64)>,
}

/// An object on its way.
struct Flight {
    result: Receiver<Result<Duration>>,
    txid: u64,
    bytes: u64,
    since_ns: u64,
    attempts: u32,
}

impl Engine {
    fn follow(mut self) -> Result<Finish> {
        let mut flight: Option<Flight> = None;
        let mut retry_at = 0;
        let mut next_sync = 0;
        let mut drain_until: Option<u64> = None;
        let mut last_copy = 0;
        let mut announced = (u64::MAX, 0);
        loop {
            let now = self.clock.monotonic_ns();
            if let Some(f) = &mut flight {
                match f.result.try_recv() {
                    Ok(Ok(put)) => {
                        self.confirm(f, put)?;
                        flight = None;
                    }
                    Ok(Err(e)) if e.may_pass() => {
                        f.attempts += 1;
                        let retry_in = Duration::from_secs(1 << f.attempts.min(6)) / 2;
                        retry_at = now + retry_in.as_nanos() as u64;
                        let reason = reason(&e);
                        self.tell(Event::UploadFailed { error: e.to_string(), reason, retry_in });
                        f.result = channel().1;
                    }
                    Ok(Err(e)) => return Err(e),
                    Err(TryRecvError::Disconnected) if now >= retry_at => f.result = self.resend()?,
                    Err(_) => {}
                }
            }

            // Read before looking: what was committed before the stop must be seen by the look that ends the copying (P1).
            let stopping = *self.stop.borrow() || self.config.once;
            let looked = self.tail.look()?;
            if drain_until.is_none() {
                if self.advance(looked.news)? {
                    last_copy = self.clock.monotonic_ns();
                }
                if stopping {
                    // Everything committed before the stop is in the batch now; later commits are not waited for.
                    let deadline = now + self.config.drain.as_nanos() as u64;
                    drain_until = Some(deadline);
                }
            }
            let stats = (self.tail.stats().checkpoints, self.tail.stats().barrier.max_ns);
            if stats != announced {
                announced = stats;
                self.tell(Event::Tail {
                    checkpoints: stats.0,
                    barrier_max_ns: stats.1,
                    wal_bytes: looked.wal_bytes,
                });
            }

            let due = now >= next_sync || drain_until.is_some();
            if flight.is_none() && due && !self.batch.is_empty() {
                next_sync = now + self.config.sync_interval.as_nanos() as u64;
                flight = match self.stage_and_send() {
                    Ok(flight) => Some(flight),
                    // A full disk: the batch is kept, and tried again.
                    Err(e) if e.may_pass() && self.record.intent.is_none() => {
                        next_sync = now + STAGE_AGAIN.as_nanos() as u64;
                        self.tell(Event::UploadFailed {
                            error: e.to_string(),
                            reason: "other",
                            retry_in: STAGE_AGAIN,
                        });
                        None
                    }
                    Err(e) => return Err(e),
                };
            }
            if let Some(deadline) = drain_until {
                if flight.is_none() && self.batch.is_empty() {
                    self.state.save(self.record.clone(), true)?;
                    self.tell(Event::CaughtUp);
                    return Ok(Finish::Complete);
                }
                if now >= deadline {
                    return Ok(Finish::Partial);
                }
            }
            if flight.is_none() && self.batch.is_empty() && !looked.pending_publication {
                self.tell(Event::CaughtUp);
            }

            let mut sleep = SAFETY_POLL;
            if !self.batch.is_empty() && flight.is_none() {
                sleep = sleep.min(Duration::from_nanos(next_sync.saturating_sub(now)));
            }
            if flight.as_ref().is_some_and(|f| f.attempts > 0) {
                sleep = sleep.min(Duration::from_nanos(retry_at.saturating_sub(now).max(1_000_000)));
            }
            if drain_until.is_some() {
                sleep = sleep.min(Duration::from_millis(20));
            }
            self.tail.wait(sleep);
            if self.clock.monotonic_ns() - last_copy < 4 * PACE.as_nanos() as u64 {
                std::thread::sleep(PACE);
            }
        }
    }

    /// Takes what was committed into the batch, then hands over the hold and checkpoints, which may copy more. True if
    /// anything was copied.
    fn advance(&mut self, news: bool) -> Result<bool> {
        let seen = (self.clock.monotonic_ns(), self.clock.unix_ms());
        let copied = match news {
            true => self.tail.copy(&mut self.batch).map(|c| c.frames),
            false => Ok(0),
        };
        let moved = copied.and_then(|frames| {
            let kept = self.tail.maintain(&mut self.batch)?;
            Ok(frames + kept.frames)
        });
        match moved {
            Ok(frames) => {
                self.note(seen);
                Ok(frames > 0)
            }
            // Frames were lost under our hands: what the batch lacks is found by comparing pages (P2).
            Err(sqlite_tail::Error::Gap { what, .. }) => self.compare(what).map(|()| true),
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, seen: (u64, i64)) {
        if self.batch.is_empty() {
            return;
        }
        if self.batch_since.is_none() {
            self.batch_since = Some(seen);
            self.tell(Event::Behind { wal_bytes: self.tail.position().map_or(0, |p| p.wal_offset()) - 32 });
        }
    }

    /// Batch -> staged file -> intent -> PUT. The page table follows while the PUT is under way.
    fn stage_and_send(&mut self) -> Result<Flight> {
        let (since_ns, seen_ms) =
            self.batch_since.unwrap_or_else(|| (self.clock.monotonic_ns(), self.clock.unix_ms()));
        let to = self.tail.position().expect("a started tail has a position");
        let body = self.stage(to, seen_ms)?;
        self.batch.clear();
        self.batch_since = None;
        let result = self.launch(body)?;
        stage::apply(&self.state.staged(), &mut self.table)?;
        let intent = self.record.intent.as_ref().expect("staging records an intent");
        let size = intent.staged.as_ref().map_or(0, |s| s.size);
        Ok(Flight { result, txid: intent.txid, bytes: size, since_ns, attempts: 0 })
    }

    /// Stages the batch (which may be empty: a claim) as the next TXID and records the intent durably.
    pub(crate) fn stage(&mut self, to: Position, seen_ms: i64) -> Result<Body> {
        let before = self.record.mark.expect("a mark stands before anything is staged");
        let txid = Txid::new(self.record.confirmed + 1).expect("confirmed + 1 is not zero");
        let next =
            Next { txid, stamp: self.new_stamp(), timestamp_ms: seen_ms.max(before.timestamp_ms + 1), to };
        let path = self.state.staged();
        let tail = &self.tail;
        let (staged, mark) = stage::stage(&path, &self.batch, &self.table, &before, &next, |pgno, page| {
            Ok(tail.read_file_page(pgno, page)?)
        })?;
        self.record.intent =
            Some(Intent { txid: txid.get(), write_id: next.stamp.write_id, staged: Some(staged.clone()) });
        self.record.mark = Some(mark);
        self.state.save(self.record.clone(), true)?;
        stage::reread(&path, &staged)?.ok_or_else(|| Error::Io {
            path,
            doing: "read back the staged file",
            source: std::io::Error::other("it is not what was written"),
        })
    }

    /// Starts the PUT of the staged file.
    fn launch(&self, body: Body) -> Result<Receiver<Result<Duration>>> {
        let intent = self.record.intent.as_ref().expect("launched after staging");
        let mark: &Mark = self.record.mark.as_ref().expect("staged files have a mark");
        let txid = Txid::new(intent.txid).expect("intents have a TXID");
        let sending = send(
            self.store.clone(),
            self.layout.sync_key(txid),
            body,
            send::options(mark.timestamp_ms, intent.write_id),
            Some((self.tail.wal_file(), self.config.database.clone())),
            self.clock.clone(),
        );
        let (done, result) = channel();
        let waker = self.tail.waker();
        self.runtime.spawn(async move {
            let _ = done.send(sending.await);
            waker.wake();
        });
        Ok(result)
    }

    fn resend(&self) -> Result<Receiver<Result<Duration>>> {
        let staged = self
            .record
            .intent
            .as_ref()
            .and_then(|i| i.staged.as_ref())
            .expect("only staged files are in flight");
        let bytes = stage::reread(&self.state.staged(), staged)?.ok_or_else(|| Error::Refused {
            what: format!("{} was changed while it was being sent", self.state.staged().display()),
            hint: "nothing but this program may write there; start again".into(),
        })?;
        self.launch(bytes)
    }

    fn confirm(&mut self, flight: &Flight, put: Duration) -> Result<()> {
        self.record.confirmed = flight.txid;
        self.record.intent = None;
        // Not synced: losing this write only means that the next start finds its own object in the store. A large staged file is
        // not kept for that, so there the write is synced.
        let large = flight.bytes > KEEP_STAGED;
        self.state.save(self.record.clone(), large)?;
        if large {
            let path = self.state.staged();
            std::fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        }
        self.tell(Event::Durable {
            txid: flight.txid,
            bytes: flight.bytes,
            db_pages: self.record.mark.as_ref().map_or(0, |m| m.commit),
            lag: Duration::from_nanos(self.clock.monotonic_ns() - flight.since_ns),
            put,
        });
        Ok(())
    }

    pub(crate) fn new_stamp(&self) -> Extension {
        let random = self.ids.next_u64().to_be_bytes();
        let mut write_id = [0; 6];
        write_id.copy_from_slice(&random[..6]);
        Extension { epoch: self.record.epoch, lineage: self.record.lineage, write_id }
    }

    /// Waits for an answer of the store; once told to stop, no longer than the drain lasts.
    pub(crate) fn ask<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(until_drained(answer, self.stop.clone(), self.config.drain))
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.events)(event);
    }

    /// Options of the tail.
    pub(crate) fn tail_options(config: &Config) -> Options {
        Options { convert_to_wal: config.convert_to_wal, ..Options::default() }
    }
}

/// `answer`, or [`Error::Stopped`] when `drain` has passed since the stop.
pub(crate) async fn until_drained<T>(
    answer: impl Future<Output = Result<T>>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) -> Result<T> {
    let drained = async move {
        // A closed channel means that nobody can stop us any more.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        answer = answer => answer,
        () = drained => Err(Error::Stopped),
    }
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::Store(e) => e.reason(),
        _ => "other",
    }
}
