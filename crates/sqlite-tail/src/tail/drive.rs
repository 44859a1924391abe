//! Executes the actions of the protocol: moving the hold, checkpoints and the write barrier.

use super::{Tail, facts};
use crate::protocol::{Action, Event, Then};
use crate::stamp::FileStamp;
use crate::{Error, Sink};
use std::thread;
use std::time::Duration;

/// How often to ask, 250 µs apart, for the checkpoint lock while the application waits for the barrier to end.
const BARRIER_PATIENCE: u32 = 20;
/// How long to ask for the barrier while the application checkpoints.
const IMPATIENT: Duration = Duration::from_millis(1);

/// How often, and how far apart, to look for the commit that restarts the WAL.
const RESTART_LOOKS: u32 = 4;
const RESTART_LOOK: Duration = Duration::from_micros(250);

/// How a checkpoint of ours ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// Everything is in the database file; the application's next commit restarts the WAL.
    Complete,
    /// A reader or a writer kept some frames back; tried again later.
    Partial,
    /// Another checkpointer was at work.
    Busy,
}

/// What [`Tail::maintain`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Frames copied on the way.
    pub frames: u32,
    /// Transactions copied on the way.
    pub commits: u32,
    /// The WAL restarted on the way.
    pub restarted: bool,
    /// How often the hold moved.
    pub hand_overs: u32,
    /// The result of the last checkpoint, if any was run.
    pub checkpoint: Option<Checkpoint>,
    /// How long the write lock was held, in ns, if it was.
    pub barrier_ns: Option<u64>,
}

impl Tail {
    /// Moves the hold where it is in nobody's way and checkpoints if it is time (decision 0002). To be called after
    /// every copy, and when [`Tail::wait`] returns. Copies what it must into `sink`.
    pub fn maintain(&mut self, sink: &mut dyn Sink) -> Result<Maintenance, Error> {
        let mut done = self.drive(sink, Then::Maintain)?;
        for _ in 0..RESTART_LOOKS {
            if !self.protocol.expects_restart() {
                break;
            }
            thread::sleep(RESTART_LOOK);
            done.hand_overs += self.drive(sink, Then::Copy)?.hand_overs;
        }
        Ok(done)
    }

    /// Lets the application checkpoint: to be called when there will be no more [`Tail::maintain`] for a while.
    pub fn release(&mut self) {
        self.hold.unbrake(&self.files.shm);
        self.protocol.released();
    }

    /// As [`Tail::maintain`], with a checkpoint now, whatever limits and back-off say.
    pub fn checkpoint_now(&mut self, sink: &mut dyn Sink) -> Result<Maintenance, Error> {
        self.drive(sink, Then::Checkpoint)
    }

    /// Cuts a fully copied and fully backfilled WAL to zero bytes, to give disk space back. `false` if somebody uses
    /// it or anything was committed meanwhile: TRUNCATE needs the write lock, so the barrier cannot cover it, but a
    /// hold on READ_LOCK(0) keeps it from touching anything that was not copied (trap 8).
    pub fn truncate_wal(&mut self, sink: &mut dyn Sink) -> Result<bool, Error> {
        self.checkpoint_now(sink)?;
        let index = self.index()?;
        let copied =
            self.position.is_some_and(|at| at.salts() == index.salts() && at.frame == index.mx_frame);
        if !copied || index.behind() > 0 || index.mx_frame == 0 {
            return Ok(index.mx_frame == 0);
        }
        self.stats.checkpoints += 1;
        self.hold.unbrake(&self.files.shm);
        let done = !self.checkpointer.checkpoint_truncate()?.busy;
        self.copy(sink)?;
        Ok(done)
    }

    pub(super) fn drive(&mut self, sink: &mut dyn Sink, then: Then) -> Result<Maintenance, Error> {
        let now = facts(&self.index()?);
        let mut done = Maintenance::default();
        let mut run = Run { sink, done: &mut done, barrier_since: None, moving: None };
        let mut actions = self.protocol.step(Event::Tick { now, then }, self.clock.monotonic_ns());
        while let Some(action) = actions.pop() {
            debug_assert!(actions.is_empty(), "one action at a time");
            match self.execute(action, &mut run) {
                Ok(event) => actions = self.protocol.step(event, self.clock.monotonic_ns()),
                Err(error) => {
                    self.clean_up(&mut run);
                    self.protocol.step(Event::Failed, self.clock.monotonic_ns());
                    return Err(error);
                }
            }
        }
        Ok(done)
    }

    fn execute(&mut self, action: Action, run: &mut Run<'_>) -> Result<Event, Error> {
        match action {
            Action::Pin => {
                run.moving.get_or_insert(self.clock.monotonic_ns());
                let mark = self.hold.pin(&self.files.shm, &self.files.path)?;
                Ok(Event::Pinned { mark, now: facts(&self.index()?) })
            }
            Action::Raise => {
                self.hold.forget_next(&self.files.shm);
                match self.reader.touch() {
                    Ok(()) | Err(Error::Busy { .. }) => Ok(Event::Raised),
                    Err(error) => Err(error),
                }
            }
            Action::LetGo => {
                self.hold.let_go(&self.files.shm);
                self.resting = None;
                self.moved(run);
                Ok(Event::Left)
            }
            Action::LockZero => {
                run.moving.get_or_insert(self.clock.monotonic_ns());
                if !self.hold.lock_zero(&self.files.shm, &self.files.path)? {
                    return Ok(Event::ZeroLocked(None));
                }
                self.incoming = self.index()?;
                Ok(Event::ZeroLocked(Some(facts(&self.incoming))))
            }
            Action::LeavePin => {
                self.hold.leave_pin(&self.files.shm);
                self.mark = self.incoming;
                self.viewed = None;
                self.resting = Some(FileStamp::of(&self.files.metadata()?));
                self.moved(run);
                Ok(Event::Left)
            }
            Action::LeaveZero => {
                self.hold.leave_zero(&self.files.shm);
                Ok(Event::Left)
            }
            Action::Copy => {
                let target = self.index()?;
                // Without a position there is nothing to lose: the caller will take a view.
                if self.position.is_some() {
                    let copied = self.copy_to(&target, u32::MAX, run.sink)?;
                    run.done.frames += copied.frames;
                    run.done.commits += copied.commits;
                    run.done.restarted |= copied.restarted;
                    self.seen = target;
                }
                Ok(Event::Copied(facts(&target)))
            }
            Action::Brake => {
                self.hold.brake(&self.files.shm, &self.files.path)?;
                Ok(Event::Braked)
            }
            Action::Unbrake => {
                self.hold.unbrake(&self.files.shm);
                Ok(Event::Braked)
            }
            Action::Checkpoint => {
                // The application's hook may be faster than we, and has little to sync then.
                if self.hold.is_braked() && !self.protocol.is_calm(self.clock.monotonic_ns()) {
                    self.sync_wal()?;
                }
                self.hold.unbrake(&self.files.shm);
                self.checkpoint(run)
            }
            Action::TakeBarrier { patient } => {
                // What the checkpoint under the lock would sync is synced before, so that little is left (trap 8);
                // the unlocked one has just synced the WAL.
                self.files.db.sync_data().map_err(Error::io("sync", &self.files.path))?;
                let patience = if patient { self.options.barrier_timeout } else { IMPATIENT };
                match self.reader.begin_write(patience.min(self.options.barrier_timeout)) {
                    Ok(()) => {}
                    Err(Error::Busy { .. }) => {
                        self.stats.barrier_busy += 1;
                        return Ok(Event::BarrierBusy);
                    }
                    Err(error) => return Err(error),
                }
                run.barrier_since = Some(self.clock.monotonic_ns());
                Ok(Event::BarrierTaken(facts(&self.index()?)))
            }
            Action::Release => {
                self.reader.end()?;
                self.release_measured(run);
                Ok(Event::Released)
            }
        }
    }

    fn checkpoint(&mut self, run: &mut Run<'_>) -> Result<Event, Error> {
        let before = self.index()?;
        let began = self.clock.monotonic_ns();
        let mut busy = self.checkpointer.checkpoint_passive()?.busy;
        if run.barrier_since.is_some() {
            // A checkpoint the application had begun before we stopped its writer is about to end.
            for _ in 0..BARRIER_PATIENCE {
                if !busy {
                    break;
                }
                thread::sleep(Duration::from_micros(250));
                busy = self.checkpointer.checkpoint_passive()?.busy;
            }
        }
        let now = self.index()?;
        self.stats.checkpoints += 1;
        if now.salts() == before.salts() {
            self.stats.backfilled_frames += u64::from(now.n_backfill.saturating_sub(before.n_backfill));
        }
        run.done.checkpoint = Some(if busy {
            self.stats.checkpoints_busy += 1;
            Checkpoint::Busy
        } else if now.behind() == 0 {
            self.stats.checkpoints_complete += 1;
            Checkpoint::Complete
        } else {
            self.stats.checkpoints_partial += 1;
            Checkpoint::Partial
        });
        let took_ns = self.clock.monotonic_ns().saturating_sub(began);
        Ok(Event::Checkpointed { before: facts(&before), now: facts(&now), busy, took_ns })
    }

    fn release_measured(&mut self, run: &mut Run<'_>) {
        if let Some(since) = run.barrier_since.take() {
            let held = self.clock.monotonic_ns().saturating_sub(since);
            run.done.barrier_ns = Some(run.done.barrier_ns.unwrap_or(0).max(held));
            self.stats.barrier.add(held);
        }
    }

    fn moved(&mut self, run: &mut Run<'_>) {
        run.done.hand_overs += 1;
        self.stats.hand_overs += 1;
        let began = run.moving.take().unwrap_or_default();
        self.stats.hand_over.add(self.clock.monotonic_ns().saturating_sub(began));
    }

    /// After a failed action: the hold as it was, and no barrier.
    fn clean_up(&mut self, run: &mut Run<'_>) {
        self.hold.forget_next(&self.files.shm);
        self.hold.leave_zero(&self.files.shm);
        self.hold.unbrake(&self.files.shm);
        if let Err(error) = self.reader.end() {
            tracing::warn!(%error, path = %self.files.path.display(), "a transaction would not end");
        }
        self.release_measured(run);
    }
}

/// The state of one [`Tail::maintain`].
struct Run<'a> {
    sink: &'a mut dyn Sink,
    done: &'a mut Maintenance,
    barrier_since: Option<u64>,
    /// Since when the hold is being moved.
    moving: Option<u64>,
}
