//! Who has a writer: starts them as slots become free, has them leave for others, and decides what becomes of those that end.

use crate::error::{Error, Result};
use crate::fleet::board::State;
use crate::fleet::config::News;
use crate::fleet::glance::{Rest, Stamp};
use crate::fleet::member::{Member, Phase};
use crate::fleet::slots::{self, Holder};
use crate::fleet::supervise::{Fleet, Running};
use crate::write::{self, Event, Finish};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A writer that followed for so long, ns, works: its next failure is a first one.
const WORKED: u64 = 60_000_000_000;

impl Fleet {
    /// Starts the writers whose time has come, the longest waiting first, as far as there are slots.
    pub(super) fn start_due(&mut self, running: &Running) {
        let now = self.clock.monotonic_ns();
        let mut due = self.due(now);
        due.sort_unstable();
        let mut free = self.limits.attached.saturating_sub(running.len());
        for (_, index) in due {
            let member = &self.members[index];
            // A database that is not there yet needs no slot to be waited for.
            if !member.writer.once && Stamp::is_missing(&member.database.path) {
                self.away(index);
            } else if free > 0 {
                free -= 1;
                running.push(self.start(index));
            } else {
                self.tell(index, State::Queued, None);
            }
        }
    }

    pub(super) fn due(&self, now: u64) -> Vec<(u64, usize)> {
        let due = |(index, member): (usize, &Member)| match &member.phase {
            // What failed is not tried again at the end.
            Phase::Due { after: Some(_), .. } if self.stopping => None,
            Phase::Due { at, .. } if *at <= now => Some((*at, index)),
            _ => None,
        };
        self.members.iter().enumerate().filter_map(due).collect()
    }

    /// Has writers leave if others wait for their slots.
    pub(super) fn make_room(&mut self, running: usize) {
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
                inbox.wake();
            }
        }
    }

    pub(super) fn start(&mut self, index: usize) -> BoxFuture<'static, (usize, Result<Finish>)> {
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

    pub(super) fn ended(&mut self, index: usize, finish: Result<Finish>) {
        let stopping = self.stopping;
        let jitter = self.ids.next_u64();
        let now = self.clock.monotonic_ns();
        // One that fails at its first file each time would claim once a second otherwise (P7).
        let worked =
            matches!(self.members[index].phase, Phase::Running { since, .. } if now - since >= WORKED);
        if worked && self.board.is_following(index) {
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
    pub(super) fn rest(&mut self, index: usize) {
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
}
