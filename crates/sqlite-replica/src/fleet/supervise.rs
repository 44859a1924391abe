//! The fleet at work: finds databases, gives them writers, takes them away again, hears how they end.
//!
//! One task of the runtime; the writers have threads of their own. What is decided here is decided by pure functions
//! ([`super::slots`], [`Member::pause_after`]) or by looking at files without opening a database ([`super::glance`]).

use crate::error::{Error, Result};
use crate::fleet::board::{Board, State};
use crate::fleet::config::{Conflict, Database, FleetConfig, News, Stores};
use crate::fleet::glance::{Glance, Rest, Stamp};
use crate::fleet::handle::{Command, FleetHandle};
use crate::fleet::hints::{Heard, Hints};
use crate::fleet::limits::Limits;
use crate::fleet::member::{Member, Phase};
use crate::fleet::outcome::Outcome;
use crate::fleet::overlap::Taken;
use crate::fleet::search::{FoundAll, Searches};
use crate::fleet::slots::{self, Holder};
use crate::write::{self, Event, Finish, Request, Synced};
use clock::{Clock, IdGen};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Receives the news of a fleet.
type Listener = Arc<dyn Fn(&Database, News<'_>) + Send + Sync>;

/// Longest sleep of the supervisor.
const LONGEST: Duration = Duration::from_secs(3600);
/// Pause between decisions about slots while somebody waits for one.
const SLOT_PAUSE: Duration = Duration::from_millis(250);

/// See [`crate::fleet`].
pub struct Fleet {
    members: Vec<Member>,
    searches: Searches,
    limits: Limits,
    stay: bool,
    /// Databases are made durable once; nothing that comes later is looked for.
    once: bool,
    stores: Arc<dyn Stores>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    listener: Listener,
    board: Arc<Board>,
    commands: (mpsc::UnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
    hints: Hints,
    next_look: u64,
    /// Only what was committed before is still made durable.
    stopping: bool,
}

type Running = FuturesUnordered<BoxFuture<'static, (usize, Result<Finish>)>>;

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
            let pause = if self.stopping { LONGEST } else { self.pause() };
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

    /// Adds a database.
    fn join(&mut self, member: Member, taken: &mut Taken) {
        let index = self.board.add(&member.database);
        taken.add(&member, index);
        self.members.push(member);
    }

    /// Adds what a search found. Two entries that mean the same database are refused at the start; later the one that has it keeps
    /// it. A database that was named is not found.
    fn take_in(&mut self, found: FoundAll, first: bool) -> Result<(), Conflict> {
        for error in &found.troubles {
            tracing::warn!(%error, "not everything could be searched");
        }
        if found.new.is_empty() {
            return Ok(());
        }
        let mut taken = Taken::by(&self.members);
        for (search, name, path) in found.new {
            let place = self.searches.place(search);
            let Some(writer) = self.searches.writer(search, &name, &path) else {
                tracing::warn!(db = %path.display(), place, "no replica can be named for it");
                continue;
            };
            let member = Member::new(writer, place, false);
            match taken.check(&member) {
                Ok(()) => self.join(member, &mut taken),
                Err(overlap) if overlap.same_path && self.members[overlap.with].named => {}
                Err(overlap) => {
                    let conflict = overlap.conflict(&member, &self.members);
                    if first {
                        return Err(conflict);
                    }
                    tracing::error!(db = %path.display(), %conflict, "not followed");
                }
            }
        }
        Ok(())
    }

    /// Looks for new databases, and at those without a writer: those that hints name, and all when it is time.
    async fn look(&mut self) {
        let now = self.clock.monotonic_ns();
        let due = now >= self.next_look;
        let Heard { directories, members, all } = self.hints.take();
        if due {
            self.next_look = now + self.limits.rescan.as_nanos() as u64;
        }
        if due || all {
            (0..self.members.len()).for_each(|index| self.glance(index));
        } else {
            let kept = |i: &usize| matches!(&self.members[*i].phase, Phase::Cold(rest) if rest.due <= now);
            let kept: Vec<usize> = (0..self.members.len()).filter(kept).collect();
            kept.into_iter().for_each(|index| self.glance(index));
            members.into_iter().for_each(|index| self.glance(index));
            if directories {
                let away = |m: &Member| matches!(m.phase, Phase::Away);
                let away: Vec<usize> = (0..self.members.len()).filter(|i| away(&self.members[*i])).collect();
                away.into_iter().for_each(|index| self.glance(index));
            }
        }
        if !self.once && self.searches.is_due(due, directories || all, now) {
            let found = self.searches.run(self.clock.unix_ms(), now).await;
            // While running, what conflicts is a refused member and no end of the others.
            self.take_in(found, false).expect("only a first search ends in a conflict");
        }
    }

    /// Looks at a database without a writer.
    fn glance(&mut self, index: usize) {
        let (now, now_ms) = (self.clock.monotonic_ns(), self.clock.unix_ms());
        let member = &mut self.members[index];
        let again = match &mut member.phase {
            Phase::Cold(rest) if rest.due <= now => true,
            Phase::Cold(rest) => match rest.glance(now_ms) {
                Glance::Unchanged => return,
                Glance::Changed => true,
                Glance::Gone => false,
            },
            Phase::Away => match Stamp::of(&member.database.path) {
                Ok(stamp) => stamp.is_some_and(|stamp| !stamp.is_empty()),
                // Attaching will say what is wrong.
                Err(_) => true,
            },
            // A refusal holds for the file that was refused.
            Phase::Over { finish: Err(error), file: Some(file) }
                if error.class() == crate::Class::Refused =>
            {
                match Stamp::of(&member.database.path) {
                    Ok(Some(stamp)) if !stamp.same_file(file) => true,
                    _ => return,
                }
            }
            _ => return,
        };
        self.silence(index);
        if again {
            self.members[index].phase = Phase::Due { at: 0, after: None };
            self.tell(index, State::Queued, None);
        } else {
            self.away(index);
        }
    }

    /// There is no file.
    fn away(&mut self, index: usize) {
        let before = self.members[index].seen;
        self.members[index].phase = Phase::Away;
        self.hints.listen(&self.members[index].database.path.clone(), index);
        let state = if before { State::Gone } else { State::Waiting };
        if self.board.set(index, state, None) {
            let database = &self.members[index].database;
            (self.listener)(database, News::State(state));
            if state == State::Waiting {
                (self.listener)(database, News::Writer(Event::Waiting));
            }
        }
    }

    /// Hints about its files are of no use any more.
    fn silence(&mut self, index: usize) {
        let path = &self.members[index].database.path;
        self.hints.forget(path);
        let mut wal = path.clone().into_os_string();
        wal.push("-wal");
        self.hints.forget(&PathBuf::from(wal));
    }

    fn tell(&self, index: usize, state: State, error: Option<String>) {
        if self.board.set(index, state, error) {
            (self.listener)(&self.members[index].database, News::State(state));
        }
    }

    /// Directories whose changes are hints.
    fn directories(&self) -> HashSet<PathBuf> {
        let mut all: HashSet<PathBuf> = self.searches.directories().cloned().collect();
        let idle = self.members.iter().filter(|m| matches!(m.phase, Phase::Cold(_) | Phase::Away));
        all.extend(idle.filter_map(|m| m.database.path.parent()).map(|dir| dir.to_owned()));
        all
    }

    /// Starts the writers whose time has come, the longest waiting first, as far as there are slots.
    fn start_due(&mut self, running: &Running) {
        let now = self.clock.monotonic_ns();
        let mut due = self.due(now);
        due.sort_unstable();
        let mut free = self.limits.attached.saturating_sub(running.len());
        for (_, index) in due {
            let member = &self.members[index];
            // A database that is not there yet needs no slot to be waited for.
            let missing = !member.writer.once
                && matches!(Stamp::of(&member.database.path), Ok(stamp) if stamp.is_none_or(|s| s.is_empty()));
            if missing {
                self.away(index);
            } else if free > 0 {
                free -= 1;
                running.push(self.start(index));
            } else {
                self.tell(index, State::Queued, None);
            }
        }
    }

    fn due(&self, now: u64) -> Vec<(u64, usize)> {
        let due = |(index, member): (usize, &Member)| match &member.phase {
            // What failed is not tried again at the end.
            Phase::Due { after: Some(_), .. } if self.stopping => None,
            Phase::Due { at, .. } if *at <= now => Some((*at, index)),
            _ => None,
        };
        self.members.iter().enumerate().filter_map(due).collect()
    }

    /// Has writers leave if others wait for their slots.
    fn make_room(&mut self, running: usize) {
        let now = self.clock.monotonic_ns();
        let waiting = self.due(now).len();
        if waiting == 0 || running == 0 {
            return;
        }
        let holder = |(index, member): (usize, &Member)| match &member.phase {
            Phase::Running { since, leaving, .. } => {
                let (caught_up, quiet_since) = self.board.quiet(index);
                let since_ns = |at: u64| Duration::from_nanos(now.saturating_sub(at));
                let (quiet, held) = (since_ns(quiet_since.max(*since)), since_ns(*since));
                Some(Holder { index, caught_up, quiet, held, leaving: *leaving })
            }
            _ => None,
        };
        let holders: Vec<Holder> = self.members.iter().enumerate().filter_map(holder).collect();
        for index in slots::leave(&self.limits.rules(), &holders, waiting) {
            let Member { phase, inbox, .. } = &mut self.members[index];
            if let Phase::Running { stop, leaving, .. } = phase {
                *leaving = true;
                inbox.do_not_hurry(true);
                stop.send_replace(true);
            }
        }
    }

    fn start(&mut self, index: usize) -> BoxFuture<'static, (usize, Result<Finish>)> {
        let share = self.limits.share(self.members.len());
        let member = &mut self.members[index];
        let (stop, stopped) = watch::channel(self.stopping);
        member.phase = Phase::Running { stop, since: self.clock.monotonic_ns(), leaving: false };
        let (database, writer, inbox) =
            (member.database.clone(), member.writer.clone(), member.inbox.clone());
        inbox.grant(share);
        inbox.do_not_hurry(false);
        let (stores, clock, ids) = (self.stores.clone(), self.clock.clone(), self.ids.clone());
        let (listener, board, time) = (self.listener.clone(), self.board.clone(), self.clock.clone());
        let told = database.clone();
        let events = Arc::new(move |event: Event| {
            let state = board.hear(index, &event, time.monotonic_ns());
            listener(&told, News::Writer(event));
            if let Some(state) = state {
                listener(&told, News::State(state));
            }
        });
        self.tell(index, State::Starting, None);
        Box::pin(async move {
            let finish = match stores.open(&database).await {
                Ok(store) => write::run_asked(writer, store, clock, ids, events, stopped, inbox).await,
                Err(error) => Err(Error::from(error)),
            };
            (index, finish)
        })
    }

    fn ended(&mut self, index: usize, finish: Result<Finish>) {
        let stopping = self.stopping;
        let jitter = self.ids.next_u64();
        let now = self.clock.monotonic_ns();
        if self.board.is_following(index) {
            self.members[index].recovered();
        }
        let member = &mut self.members[index];
        let leaving = matches!(member.phase, Phase::Running { leaving: true, .. });
        member.seen |= member.inbox.parted().is_some() || matches!(finish, Ok(Finish::Complete));
        match finish {
            Ok(Finish::Complete) if leaving && !stopping => return self.rest(index),
            // Not everything was durable in time: it has to come back for the rest.
            Ok(Finish::Partial) if leaving && !stopping => {
                member.phase = Phase::Due { at: now, after: None };
                return self.tell(index, State::Queued, None);
            }
            Err(Error::Tail(sqlite_tail::Error::Replaced { .. })) if !stopping && !member.writer.once => {
                member.seen = true;
                member.phase = Phase::Due { at: now, after: None };
                return self.tell(index, State::Starting, None);
            }
            _ => {}
        }
        member.inbox.close();
        let (state, retry_in) = match &finish {
            Ok(_) => (State::Ended, None),
            Err(error) => match member.pause_after(error, jitter).filter(|_| !stopping) {
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
                Phase::Due { at: now.saturating_add(pause.as_nanos() as u64), after: Some(error) }
            }
            (_, finish) => {
                let file = Stamp::of(&member.database.path).ok().flatten();
                Phase::Over { finish, file }
            }
        };
        self.tell(index, state, text);
    }

    /// Its writer left with everything durable.
    fn rest(&mut self, index: usize) {
        let member = &mut self.members[index];
        let mark = member.inbox.parted().and_then(|record| record.mark);
        let Some(mark) = mark.filter(|_| !member.inbox.is_asked()) else {
            member.phase = Phase::Due { at: self.clock.monotonic_ns(), after: None };
            return self.tell(index, State::Queued, None);
        };
        let mut rest = Rest::new(&member.database.path, mark.position());
        rest.due = member.inbox.upkeep_due();
        for file in rest.files() {
            self.hints.listen(file, index);
        }
        self.members[index].phase = Phase::Cold(rest);
        self.tell(index, State::Cold, None);
        // What was committed since is seen by this look.
        self.glance(index);
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
                self.members[index].phase = Phase::Due { at: 0, after: None };
                self.tell(index, State::Queued, None);
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
        for member in &self.members {
            member.inbox.do_not_hurry(false);
            if let Phase::Running { stop, .. } = &member.phase {
                stop.send_replace(true);
            }
        }
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
