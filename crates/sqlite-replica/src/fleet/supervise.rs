//! The fleet at work: one task of the runtime that finds databases ([`super::presence`]), gives them writers and takes them away again
//! ([`super::turns`]), and answers questions. The writers have threads of their own.
//!
//! What is decided is decided by pure functions ([`super::slots`], [`Member::pause_after`]) or by looking at files without opening a database.

use crate::error::Result;
use crate::fleet::board::{Board, State};
use crate::fleet::config::{Conflict, Database, FleetConfig, News, Stores};
use crate::fleet::handle::{Command, FleetHandle};
use crate::fleet::hints::Hints;
use crate::fleet::limits::Limits;
use crate::fleet::member::{Member, Phase};
use crate::fleet::outcome::Outcome;
use crate::fleet::overlap::Taken;
use crate::fleet::search::Searches;
use crate::write::{Finish, Request, Synced};
use clock::{Clock, IdGen};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Receives the news of a fleet.
type Listener = Arc<dyn Fn(&Database, News<'_>) + Send + Sync>;

/// Longest sleep of the supervisor.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long after the deadline of a stop a writer is still waited for. Each keeps the deadline by itself, unless it is in the middle of something
/// that cannot be cut off: SQLite recovers a WAL of a GiB, a page diff reads a large database, a disk hangs.
const GRACE: Duration = Duration::from_secs(2);
/// Pause between decisions about slots while somebody waits for one.
const SLOT_PAUSE: Duration = Duration::from_millis(250);

/// See [`crate::fleet`].
pub struct Fleet {
    pub(super) members: Vec<Member>,
    pub(super) searches: Searches,
    pub(super) limits: Limits,
    pub(super) stay: bool,
    /// Databases are made durable once; nothing that comes later is looked for.
    pub(super) once: bool,
    pub(super) stores: Arc<dyn Stores>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdGen>,
    pub(super) listener: Listener,
    pub(super) board: Arc<Board>,
    pub(super) commands: (mpsc::UnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
    pub(super) hints: Hints,
    pub(super) next_look: u64,
    /// Only what was committed before is still made durable.
    pub(super) stopping: bool,
    /// Since when.
    pub(super) stopped_ns: u64,
}

pub(super) type Running = FuturesUnordered<BoxFuture<'static, (usize, Result<Finish>)>>;

impl Fleet {
    /// Checks the configuration and looks for databases; nothing is opened for long and nothing begins.
    pub fn new(
        config: FleetConfig,
        stores: Arc<dyn Stores>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdGen>,
        listener: Listener,
    ) -> Result<Fleet, Conflict> {
        let mut fleet = Fleet {
            members: Vec::new(),
            searches: Searches::new(&config)?,
            limits: config.limits.within_files(),
            stay: config.stay,
            once: config.targets.iter().all(|target| target.writer.once),
            stores,
            clock,
            ids,
            listener,
            board: Arc::default(),
            commands: mpsc::unbounded_channel(),
            hints: Hints::new(),
            next_look: 0,
            stopping: false,
            stopped_ns: 0,
        };
        let mut taken = Taken::default();
        for target in config.targets.into_iter().filter(|target| target.found.is_none()) {
            let member = Member::new(target.writer, &target.place, true);
            taken.check(&member).map_err(|overlap| overlap.conflict(&member, &fleet.members))?;
            fleet.join(member, &mut taken);
        }
        let found = fleet.searches.now(fleet.clock.unix_ms());
        fleet.take_in(found, true)?;
        Ok(fleet)
    }

    /// For everybody else in the process.
    pub fn handle(&self) -> FleetHandle {
        FleetHandle { board: self.board.clone(), commands: self.commands.0.clone() }
    }

    /// Follows all databases until `stop` turns true, or until each has ended and `stay` is not set.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Vec<Outcome> {
        let mut running = Running::new();
        loop {
            if !self.stopping {
                self.look().await;
            }
            self.start_due(&running);
            if !self.stopping {
                self.make_room(running.len());
                if self.hints.watch(self.directories()) {
                    self.next_look = 0;
                }
            }
            let over = if self.stopping { true } else { !(self.stay || self.may_go_on()) };
            if running.is_empty() && over {
                break;
            }
            let pause = if self.stopping { self.patience() } else { self.pause() };
            if self.stopping && pause.is_zero() {
                // As after a kill: what is durable is, and the next start finds out about the rest (P1, P7).
                tracing::warn!(writers = running.len(), "not done in time; they are left where they are");
                break;
            }
            tokio::select! {
                Some((index, finish)) = running.next() => self.ended(index, finish),
                Some(command) = self.commands.1.recv() => self.obey(command),
                changed = stop.wait_for(|stop| *stop), if !self.stopping => {
                    // A closed channel means that nobody can stop us any more, so it is a stop as well.
                    drop(changed);
                    self.stop_all();
                }
                () = self.hints.wait(), if !self.stopping => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.outcomes()
    }

    /// Whether a writer may start without anybody doing anything but writing databases.
    fn may_go_on(&self) -> bool {
        (!self.searches.is_empty() && !self.once)
            || self.members.iter().any(|m| !matches!(m.phase, Phase::Over { .. }))
    }

    pub(super) fn tell(&self, index: usize, state: State, error: Option<String>) {
        if self.board.set(index, state, error) {
            (self.listener)(&self.members[index].database, News::State(state));
        }
    }

    fn obey(&mut self, command: Command) {
        let (index, request) = match command {
            Command::Sync { index, done } => (index, Request::Sync(done)),
            Command::Snapshot { index, done } => (index, Request::Snapshot(done)),
        };
        self.glance(index);
        let member = &self.members[index];
        match (&member.phase, request) {
            (Phase::Cold(_), Request::Sync(done)) => {
                let txid = member.inbox.parted().map_or(0, |record| record.confirmed);
                // Whoever asked may have gone.
                let _ = done.send(Ok(Synced { txid }));
            }
            // An image takes a writer.
            (Phase::Cold(_), request) => {
                member.inbox.ask(request);
                self.silence(index);
                self.queue(index);
            }
            (Phase::Running { .. } | Phase::Due { after: None, .. }, request) => member.inbox.ask(request),
            // Dropping the question answers it: there is no writer.
            (Phase::Due { .. } | Phase::Away | Phase::Over { .. }, _) => {}
        }
    }

    /// Has every writer make its rest durable. A database without a writer that has news gets one for that.
    fn stop_all(&mut self) {
        (0..self.members.len()).for_each(|index| self.glance(index));
        self.stopping = true;
        let now = self.clock.monotonic_ns();
        self.stopped_ns = now;
        for member in &self.members {
            member.inbox.do_not_hurry(false);
            member.inbox.stop(now);
            if let Phase::Running { stop, .. } = &member.phase {
                stop.send_replace(true);
                member.inbox.wake();
            }
        }
    }

    /// How long writers that were told to stop are still waited for.
    fn patience(&self) -> Duration {
        let drain = self.members.iter().map(|member| member.writer.drain).max().unwrap_or_default();
        let waited = self.clock.monotonic_ns().saturating_sub(self.stopped_ns);
        (drain + GRACE).saturating_sub(Duration::from_nanos(waited))
    }

    /// How long nothing will happen by itself.
    fn pause(&self) -> Duration {
        let now = self.clock.monotonic_ns();
        let mut pause = LONGEST;
        let looking = |m: &Member| matches!(m.phase, Phase::Cold(_) | Phase::Away | Phase::Over { .. });
        if !self.searches.is_empty() || self.members.iter().any(looking) {
            pause = Duration::from_nanos(self.next_look.saturating_sub(now));
        }
        if let Some(hint) = self.searches.hint_due_in(now) {
            pause = pause.min(hint);
        }
        for member in &self.members {
            let at = match &member.phase {
                Phase::Due { at, .. } => *at,
                Phase::Cold(rest) => rest.due,
                _ => continue,
            };
            pause = pause.min(Duration::from_nanos(at.saturating_sub(now)).max(SLOT_PAUSE));
        }
        pause
    }

    fn outcomes(self) -> Vec<Outcome> {
        let of = |member: Member| {
            let finish = match member.phase {
                Phase::Over { finish, .. } => finish,
                Phase::Due { after: Some(error), .. } => Err(error),
                // Everything of it is durable.
                Phase::Cold(_) => Ok(Finish::Complete),
                // Nothing is there, or nothing was begun.
                Phase::Due { .. } | Phase::Away | Phase::Running { .. } => Ok(Finish::Partial),
            };
            Outcome { database: member.database, finish }
        };
        self.members.into_iter().map(of).collect()
    }
}
