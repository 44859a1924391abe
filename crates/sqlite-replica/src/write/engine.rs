//! The writer of one database: everything it holds, and what its steps share.
//!
//! ```text
//! start:  attach -> list -> decide -> (image | resume | compare) -> claim
//! pass:   collect -> look -> copy to the batch -> hold the newest mark, checkpoint -> stage -> send
//! ```
//! A writer waits for nothing while it follows ([`super::follow`]); a thread ([`super::drive`]) or a simulator gives it its
//! time. Only the start asks the store and waits for answers.

use crate::batch::Batch;
use crate::claim::Claiming;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::layout::Layout;
use crate::state::{Inherited, Record, StateDir};
use crate::table::PageTable;
use crate::upkeep::Policy;
use crate::write::event::{Event, Taken};
use crate::write::follow::Following;
use crate::write::form::Form;
use crate::write::host::Host;
use crate::write::inbox::Inbox;
use crate::write::keep::Keeping;
use crate::write::ours::Ours;
use clock::{Clock, IdGen};
use seal::Protection;
use sqlite_tail::{Options, Tail, Wake};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::watch;

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
    /// How long a stop may take to make the rest durable, from the moment it was told, wherever the writer is then.
    pub drain: Duration,
    /// The operator says that this database continues the replica.
    pub adopt: bool,
    /// Make everything durable, then end.
    pub once: bool,
    /// A rollback-journal database may be converted to WAL.
    pub convert_to_wal: bool,
    /// Sealed for recipients, or plain.
    pub protection: Protection,
    /// How the writer comes to its claim.
    pub claim: Claiming,
    /// How long compacted level 0 files are kept: a writer that was away for half of it looks before it reports (trap 3).
    pub l0_retention: Duration,
    /// Levels, restore points, retention and checks; `None` leaves all of that to somebody else.
    pub upkeep: Option<Policy>,
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

/// Everything a writer needs from outside.
#[derive(Clone)]
pub struct Surroundings {
    /// The replica.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Lineages and write ids.
    pub ids: Arc<dyn IdGen>,
    /// Runs what takes time.
    pub host: Arc<dyn Host>,
    /// Is told what happens.
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
    /// Turns true when the writer is to end.
    pub stop: watch::Receiver<bool>,
    /// How the tail behaves beside its application.
    pub tail: Options,
    /// Questions to the writer.
    pub inbox: Arc<Inbox>,
}

/// Frames that are copied between two looks at the deadline of a stop.
const SLICE: u32 = 256;

/// The writer of one database: [`Writer::start`], then [`Writer::pass`] again and again.
pub struct Writer {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGen>,
    pub(crate) events: Events,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) layout: Layout,
    pub(crate) form: Form,
    pub(crate) tail: Tail,
    pub(crate) state: StateDir,
    pub(crate) table: PageTable,
    pub(crate) batch: Batch,
    /// What the volume knows; written before each PUT.
    pub(crate) record: Record,
    /// When the oldest commit of the batch was seen, monotonic and wall clock.
    pub(crate) batch_since: Option<(u64, i64)>,
    pub(crate) following: Following,
    pub(crate) inbox: Arc<Inbox>,
    /// The claim somebody else made for us.
    pub(crate) inherited: Option<Inherited>,
    /// The claim of an earlier writer of this process is the newest object still.
    pub(crate) stands: bool,
    /// The store's clock at its last answer, ms.
    pub(crate) server_ms: Option<i64>,
    pub(crate) keeping: Option<Keeping>,
    pub(crate) ours: Ours,
}

impl Writer {
    /// Waits for a commit, a [`Waker`](sqlite_tail::Waker) or the end of `at_most`.
    pub fn wait(&mut self, at_most: Duration) -> Wake {
        self.tail.wait(at_most)
    }

    /// Time since the last pass that copied anything.
    pub fn since_copy(&self) -> Duration {
        Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(self.following.last_copy))
    }

    /// Takes what was committed into the batch, then hands over the hold and checkpoints, which may copy more. True if
    /// anything was copied.
    pub(crate) fn advance(&mut self, news: bool) -> Result<bool> {
        let seen = (self.clock.monotonic_ns(), self.clock.unix_ms());
        let copied = match news {
            true => {
                let (stop, inbox, clock, drain) = (&self.stop, &self.inbox, &self.clock, self.config.drain);
                // A WAL of some hundred MiB takes longer than a stop may (P7).
                let mut goes_on =
                    || !*stop.borrow() || !inbox.drain_left(clock.monotonic_ns(), drain).is_zero();
                match self.tail.copy_while(&mut self.batch, SLICE, &mut goes_on) {
                    Ok(Some(copied)) => Ok(copied.frames),
                    Ok(None) => return Err(Error::Stopped),
                    Err(error) => Err(error),
                }
            }
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
                if frames > 0 {
                    self.tell(Event::Copied(self.taken()));
                }
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

    /// What was copied so far, for whoever measures what is not durable yet.
    pub(crate) fn taken(&self) -> Taken {
        let stats = self.tail.stats();
        Taken { commits: stats.commits, frames: stats.frames }
    }

    /// Waits for an answer of the store; once told to stop, no longer than the drain lasts.
    pub(crate) fn ask<T: Send>(&self, answer: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let mut answered = Err(Error::Stopped);
        let answer = until_drained(answer, self.stop.clone(), self.drain_left());
        self.host.finish(Box::pin(async { answered = answer.await }));
        answered
    }

    /// How long a stop may still take.
    pub(crate) fn drain_left(&self) -> Duration {
        self.inbox.drain_left(self.clock.monotonic_ns(), self.config.drain)
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.events)(event);
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
