//! The fleet at work: starts writers, hears how they end, starts them again.

use crate::error::{Error, Result};
use crate::fleet::board::{Board, State};
use crate::fleet::config::{Conflict, Database, FleetConfig, News, Stores};
use crate::fleet::handle::{Command, FleetHandle};
use crate::fleet::member::{Member, Phase};
use crate::fleet::outcome::Outcome;
use crate::write::{self, Event, Finish, Request};
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

/// See [`crate::fleet`].
pub struct Fleet {
    members: Vec<Member>,
    stay: bool,
    stores: Arc<dyn Stores>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    listener: Listener,
    board: Arc<Board>,
    commands: (mpsc::UnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
}

type Running = FuturesUnordered<BoxFuture<'static, (usize, Result<Finish>)>>;

impl Fleet {
    /// Checks the configuration; nothing is opened and nothing begins.
    pub fn new(
        config: FleetConfig,
        stores: Arc<dyn Stores>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdGen>,
        listener: Listener,
    ) -> Result<Fleet, Conflict> {
        config.check()?;
        let board = Arc::<Board>::default();
        let members: Vec<Member> = config.targets.into_iter().map(Member::new).collect();
        for member in &members {
            board.add(&member.database);
        }
        let commands = mpsc::unbounded_channel();
        Ok(Fleet { members, stay: config.stay, stores, clock, ids, listener, board, commands })
    }

    /// For everybody else in the process.
    pub fn handle(&self) -> FleetHandle {
        FleetHandle { board: self.board.clone(), commands: self.commands.0.clone() }
    }

    /// Follows all databases until `stop` turns true, or until each has ended and `stay` is not set.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Vec<Outcome> {
        let mut running = Running::new();
        let mut stopping = *stop.borrow();
        loop {
            if !stopping {
                self.start_due(&running);
            }
            if running.is_empty() && (stopping || (!self.stay && self.next_due().is_none())) {
                break;
            }
            let pause = self.next_due().filter(|_| !stopping).unwrap_or(LONGEST);
            tokio::select! {
                Some((index, finish)) = running.next() => self.ended(index, finish),
                Some(command) = self.commands.1.recv() => self.obey(command),
                changed = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    // A closed channel means that nobody can stop us any more, so it is a stop as well.
                    drop(changed);
                    self.stop_all();
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.outcomes()
    }

    /// Starts the writers whose time has come.
    fn start_due(&mut self, running: &Running) {
        let now = self.clock.monotonic_ns();
        for index in 0..self.members.len() {
            if matches!(self.members[index].phase, Phase::Due { at, .. } if at <= now) {
                running.push(self.start(index));
            }
        }
    }

    fn start(&mut self, index: usize) -> BoxFuture<'static, (usize, Result<Finish>)> {
        let member = &mut self.members[index];
        let (stop, stopped) = watch::channel(false);
        member.phase = Phase::Running(stop);
        let (database, writer, inbox) =
            (member.database.clone(), member.writer.clone(), member.inbox.clone());
        let (stores, clock, ids) = (self.stores.clone(), self.clock.clone(), self.ids.clone());
        let (listener, board) = (self.listener.clone(), self.board.clone());
        let told = database.clone();
        let events = Arc::new(move |event: Event| {
            let state = board.hear(index, &event);
            listener(&told, News::Writer(event));
            if let Some(state) = state {
                listener(&told, News::State(state));
            }
        });
        self.board.set(index, State::Starting, None);
        (self.listener)(&database, News::State(State::Starting));
        Box::pin(async move {
            let finish = match stores.open(&database).await {
                Ok(store) => write::run_asked(writer, store, clock, ids, events, stopped, inbox).await,
                Err(error) => Err(Error::from(error)),
            };
            (index, finish)
        })
    }

    fn ended(&mut self, index: usize, finish: Result<Finish>) {
        let jitter = self.ids.next_u64();
        let member = &mut self.members[index];
        if self.board.is_following(index) {
            member.recovered();
        }
        member.inbox.close();
        let stopped = matches!(&member.phase, Phase::Running(stop) if *stop.borrow());
        let (state, retry_in) = match &finish {
            Ok(_) => (State::Ended, None),
            Err(error) => match member.pause_after(error, jitter).filter(|_| !stopped) {
                Some(pause) => (State::Retrying, Some(pause)),
                None => (State::after(error.class()), None),
            },
        };
        let text = finish.as_ref().err().map(Error::to_string);
        if let Err(error) = &finish {
            (self.listener)(&member.database, News::Failed { error, retry_in });
        }
        member.phase = match (retry_in, finish) {
            (Some(pause), Err(error)) => {
                let at = self.clock.monotonic_ns().saturating_add(pause.as_nanos() as u64);
                Phase::Due { at, after: Some(error) }
            }
            (_, finish) => Phase::Over(finish),
        };
        if self.board.set(index, state, text) {
            (self.listener)(&member.database, News::State(state));
        }
    }

    fn obey(&mut self, command: Command) {
        let Command::Sync { index, done } = command;
        match &self.members[index].phase {
            Phase::Running(_) => self.members[index].inbox.ask(Request::Sync(done)),
            // Dropping the question answers it: there is no writer.
            Phase::Due { .. } | Phase::Over(_) => {}
        }
    }

    fn stop_all(&mut self) {
        for member in &self.members {
            if let Phase::Running(stop) = &member.phase {
                stop.send_replace(true);
            }
        }
    }

    /// Time until the next writer may start.
    fn next_due(&self) -> Option<Duration> {
        let now = self.clock.monotonic_ns();
        let due = |member: &Member| match member.phase {
            Phase::Due { at, .. } => Some(Duration::from_nanos(at.saturating_sub(now))),
            _ => None,
        };
        self.members.iter().filter_map(due).min()
    }

    fn outcomes(self) -> Vec<Outcome> {
        let of = |member: Member| {
            let finish = match member.phase {
                Phase::Over(finish) => finish,
                Phase::Due { after: Some(error), .. } => Err(error),
                Phase::Due { .. } | Phase::Running(_) => Err(Error::Stopped),
            };
            Outcome { database: member.database, finish }
        };
        self.members.into_iter().map(of).collect()
    }
}
