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
use crate::state::{Record, StateDir};
use crate::table::PageTable;
use crate::write::event::Event;
use crate::write::flight::Flight;
use clock::{Clock, IdGen};
use sqlite_tail::{Options, Tail};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The longest sleep without looking: events may be missed (network mounts, overflow).
const SAFETY_POLL: Duration = Duration::from_secs(1);
/// Pause between copies while commits keep coming, so that following costs the application little.
const PACE: Duration = Duration::from_millis(4);

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

impl Engine {
    fn follow(mut self) -> Result<Finish> {
        let mut flight: Option<Flight> = None;
        let mut retry_at = 0;
        let mut next_sync = 0;
        let mut drain_until: Option<u64> = None;
        let mut last_copy = 0;
        let mut announced = u64::MAX;
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
            let checkpoints = self.tail.stats().checkpoints;
            if checkpoints != announced {
                announced = checkpoints;
                self.tell(Event::Tail { checkpoints, wal_bytes: looked.wal_bytes });
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
            if let Some(held) = kept.barrier_ns {
                (self.events)(Event::WriteLock { held: Duration::from_nanos(held) });
            }
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
