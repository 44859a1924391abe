//! One pass of a writer: collect what is in flight, look, copy, maintain, stage, launch; then say how long to sleep, and why.
//!
//! One object is in flight at a time; meanwhile commits gather in the batch, so a slow store makes files larger, not more
//! numerous. Copying never waits for the store, so the application's checkpoints do not either (P5). A pass waits for nobody:
//! whoever calls it decides when the next one comes, which is what makes it a step of a simulation (decision 0006).

use crate::error::{Class, Error, Result};
use crate::restore::init::remember_good;
use crate::write::engine::{Finish, Writer};
use crate::write::event::Event;
use crate::write::flight::Flight;
use crate::write::inbox::{Request, Synced};
use std::collections::VecDeque;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest sleep without looking: events may be missed (network mounts, overflow).
const SAFETY_POLL: Duration = Duration::from_secs(1);
/// The same for a database that has been at rest for [`REST`]: a hundred of them take no percent of a core (P7).
const REST_POLL: Duration = Duration::from_secs(4);
const REST: Duration = Duration::from_secs(60);
/// Pause after staging failed for lack of space.
const STAGE_AGAIN: Duration = Duration::from_secs(2);
/// Pause between passes while the rest is being made durable before an end.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What a pass ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do before this pause is over, a commit, or an answer of the store.
    Wait(Pause),
    /// It is over.
    Done(Finish),
}

/// How long to sleep at most, and why not longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// The longest sleep.
    pub at_most: Duration,
    /// What comes after it.
    pub why: Why,
}

/// What a pause waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// News of the application, with a look now and then.
    News,
    /// The sync interval: commits wait in the batch.
    Interval,
    /// The store's answer.
    Answer,
    /// The time to send again.
    Retry,
    /// The end of a drain.
    Drain,
}

/// What a writer remembers from pass to pass.
#[derive(Default)]
pub(crate) struct Following {
    flight: Option<Flight>,
    retry_at: u64,
    next_sync: u64,
    drain_until: Option<u64>,
    pub(crate) last_copy: u64,
    announced: Option<u64>,
    /// Whoever waits for this TXID to be durable.
    promised: Vec<(u64, oneshot::Sender<Result<Synced>>)>,
}

impl Following {
    /// Whether the end has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain_until.is_some()
    }

    /// Whether an object is on its way.
    pub(crate) fn is_sending(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether the store does not take the object that is on its way.
    pub(crate) fn is_failing(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.attempts > 0)
    }
}

impl Writer {
    /// Does everything that can be done now. An error ends the writer.
    pub fn pass(&mut self) -> Result<Step> {
        let step = self.step();
        if !matches!(step, Ok(Step::Wait(_))) {
            self.leave_state(step.as_ref().err());
        }
        step
    }

    fn step(&mut self) -> Result<Step> {
        let now = self.clock.monotonic_ns();
        self.ours.passes(now);
        self.regain_state()?;
        self.collect(now)?;

        // Read before looking: what was committed before the stop must be seen by the look that ends the copying (P1).
        let told = *self.stop.borrow() && !(self.inbox.is_unhurried() && self.is_at_work());
        let stopping = told || self.config.once;
        let copying = self.following.drain_until.is_none();
        let asked = if copying { self.inbox.take() } else { VecDeque::new() };
        self.batch.bound(self.inbox.granted());
        let looked = self.tail.look().map_err(|error| self.leave_busy(error))?;
        if looked.disturbed {
            self.check_undisturbed()?;
        }
        if copying {
            if self.advance(looked.news)? {
                self.following.last_copy = self.clock.monotonic_ns();
            }
            if stopping {
                // Everything committed before the stop is in the batch now; later commits are not waited for.
                self.following.drain_until = Some(now + self.drain_left().as_nanos() as u64);
                self.tail.release();
            }
        }
        let checkpoints = self.tail.stats().checkpoints;
        if self.following.announced.replace(checkpoints) != Some(checkpoints) {
            self.tell(Event::Tail { checkpoints, wal_bytes: looked.wal_bytes });
        }
        self.promise(asked);
        if copying && self.following.flight.is_none() && self.freeze_for_image(now)? {
            // The image is the state after this file.
            self.following.next_sync = now;
        }
        self.depart(now)?;
        self.keep_up(now, looked.wal_bytes)?;
        self.answer();

        let idle = self.following.flight.is_none() && self.batch.is_empty();
        if let Some(deadline) = self.following.drain_until {
            if idle {
                self.leave_file()?;
                self.state.save(self.record.clone(), true)?;
                // The next start of the pod need not read an untouched file to know that it is whole.
                remember_good(&self.config.database, self.state.dir())?;
                let keeping = self.part_upkeep(now);
                self.inbox.part(self.state.record(), keeping);
                self.tell(Event::CaughtUp);
                return Ok(Step::Done(Finish::Complete));
            }
            if now >= deadline {
                return Ok(Step::Done(Finish::Partial));
            }
        }
        if idle && !looked.pending_publication {
            self.tell(Event::CaughtUp);
        }
        Ok(Step::Wait(self.pause(now)))
    }

    /// What was committed before a question is copied now: it is durable with the file that the batch becomes, or with the one in
    /// flight (P1).
    fn promise(&mut self, asked: VecDeque<Request>) {
        let in_flight = self.record.confirmed + u64::from(self.following.flight.is_some());
        for request in asked {
            let done = match request {
                Request::Sync(done) => done,
                Request::Snapshot(done) => {
                    self.want_image();
                    let txid = self.record.confirmed;
                    let _ = done.send(Ok(Synced { txid }));
                    continue;
                }
            };
            let txid = in_flight + u64::from(!self.batch.is_empty());
            self.following.promised.push((txid, done));
            self.following.next_sync = 0;
        }
    }

    fn answer(&mut self) {
        let txid = self.record.confirmed;
        for (_, done) in self.following.promised.extract_if(.., |(through, _)| *through <= txid) {
            // Whoever asked may have gone.
            let _ = done.send(Ok(Synced { txid }));
        }
    }

    /// As [`Writer::freeze`]; frames lost under our hands are found by comparing pages, as in a copy.
    fn freeze_for_image(&mut self, now: u64) -> Result<bool> {
        match self.freeze(now) {
            Err(Error::Tail(sqlite_tail::Error::Gap { what, .. })) => self.compare(what).map(|()| true),
            // Busy, or no descriptor to be had: an image can wait.
            Err(Error::Tail(error)) if error.class() == sqlite_tail::Class::Retriable => {
                tracing::debug!(%error, "no image now");
                Ok(false)
            }
            other => other,
        }
    }

    /// Takes the store's answer, if there is one; sends again when it is time.
    fn collect(&mut self, now: u64) -> Result<()> {
        let Some(mut flight) = self.following.flight.take() else { return Ok(()) };
        match flight.result.try_recv() {
            Ok(Ok(put)) => return self.confirm(&flight, put),
            Ok(Err(e)) if e.may_pass() => {
                flight.attempts += 1;
                let retry_in = Duration::from_secs(1 << flight.attempts.min(6)) / 2;
                self.following.retry_at = now + retry_in.as_nanos() as u64;
                self.tell(Event::UploadFailed { error: e.to_string(), reason: e.reason(), retry_in });
                flight.result = channel().1;
            }
            Ok(Err(e)) if e.class() == Class::Fenced => return Err(self.lose(e)),
            Ok(Err(e)) => return Err(e),
            Err(TryRecvError::Disconnected) if now >= self.following.retry_at => {
                flight.result = self.resend()?;
            }
            Err(_) => {}
        }
        self.following.flight = Some(flight);
        Ok(())
    }

    /// Sends the batch on its way if nothing is in flight and it is time.
    fn depart(&mut self, now: u64) -> Result<()> {
        let due = now >= self.following.next_sync || self.following.drain_until.is_some();
        if self.following.flight.is_some() || !due || self.batch.is_empty() {
            return Ok(());
        }
        self.following.next_sync = now + self.config.sync_interval.as_nanos() as u64;
        match self.stage_and_send() {
            Ok(flight) => self.following.flight = Some(flight),
            // A full disk: the batch is kept, and tried again.
            Err(e) if e.may_pass() && self.record.intent.is_none() => {
                self.following.next_sync = now + STAGE_AGAIN.as_nanos() as u64;
                let (error, reason) = (e.to_string(), e.reason());
                self.tell(Event::UploadFailed { error, reason, retry_in: STAGE_AGAIN });
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn pause(&self, now: u64) -> Pause {
        let resting = self.since_copy() > REST && self.keeping.as_ref().is_none_or(|k| k.is_resting(now));
        let mut pause = Pause { at_most: if resting { REST_POLL } else { SAFETY_POLL }, why: Why::News };
        let mut no_longer_than = |at_most, why| {
            if at_most < pause.at_most {
                pause = Pause { at_most, why };
            }
        };
        let following = &self.following;
        match &following.flight {
            None if self.batch.is_empty() => {}
            None => {
                no_longer_than(Duration::from_nanos(following.next_sync.saturating_sub(now)), Why::Interval)
            }
            Some(flight) if flight.attempts > 0 => {
                let left = following.retry_at.saturating_sub(now).max(1_000_000);
                no_longer_than(Duration::from_nanos(left), Why::Retry);
            }
            Some(_) => {}
        }
        if following.drain_until.is_some() {
            no_longer_than(DRAIN_POLL, Why::Drain);
        }
        if pause.why == Why::News && following.flight.is_some() {
            pause.why = Why::Answer;
        }
        pause
    }
}
