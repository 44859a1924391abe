//! Executes the actions of the protocol: hand-overs, checkpoints and the write barrier.

use super::{Tail, facts};
use crate::protocol::{Action, Event};
use crate::{Error, Sink};
use std::thread;
use std::time::Duration;

/// How often to ask, 250 µs apart, for the checkpoint lock while the application waits for the barrier to end.
const BARRIER_PATIENCE: u32 = 20;
/// How long to ask for the barrier while the application checkpoints.
const IMPATIENT: Duration = Duration::from_millis(1);

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
    /// How often the hold was handed over.
    pub hand_overs: u32,
    /// The result of the last checkpoint, if any was run.
    pub checkpoint: Option<Checkpoint>,
    /// How long the write lock was held, in ns, if it was.
    pub barrier_ns: Option<u64>,
}

impl Tail {
    /// Hands the hold over to the newest mark and checkpoints if it is time (decision 0002). To be called after every
    /// copy, and when [`Tail::wait`] returns. Copies what it must into `sink`.
    pub fn maintain(&mut self, sink: &mut dyn Sink) -> Result<Maintenance, Error> {
        self.drive(sink, false)
    }

    /// As [`Tail::maintain`], with a checkpoint now, whatever limits and back-off say.
    pub fn checkpoint_now(&mut self, sink: &mut dyn Sink) -> Result<Maintenance, Error> {
        self.drive(sink, true)
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
        let done = !self.checkpointer.checkpoint_truncate()?.busy;
        self.copy(sink)?;
        Ok(done)
    }

    fn drive(&mut self, sink: &mut dyn Sink, force: bool) -> Result<Maintenance, Error> {
        let now = facts(&self.index()?);
        let mut done = Maintenance::default();
        let mut run = Run { sink, done: &mut done, barrier_since: None, began: 0 };
        let mut actions = self.protocol.step(Event::Tick { now, force }, self.clock.monotonic_ns());
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
            Action::BeginSpare => {
                run.began = self.clock.monotonic_ns();
                let before = self.index()?;
                self.spare.begin_read(self.options.busy_timeout)?;
                let after = self.index()?;
                self.incoming = after;
                Ok(Event::Begun { before: facts(&before), after: facts(&after) })
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
            Action::EndHold => {
                self.hold.end()?;
                std::mem::swap(&mut self.hold, &mut self.spare);
                self.mark = self.incoming;
                self.viewed = None;
                run.done.hand_overs += 1;
                self.stats.hand_overs += 1;
                self.stats.hand_over.add(self.clock.monotonic_ns().saturating_sub(run.began));
                Ok(Event::Ended)
            }
            Action::Checkpoint => self.checkpoint(run),
            Action::TakeBarrier { patient } => {
                // What the checkpoint under the lock would sync is synced before, so that little is left (trap 8);
                // the unlocked one has just synced the WAL.
                self.files.db.sync_data().map_err(Error::io("sync", &self.files.path))?;
                let patience = if patient { self.options.barrier_timeout } else { IMPATIENT };
                match self.spare.begin_write(patience.min(self.options.barrier_timeout)) {
                    Ok(()) => {}
                    Err(Error::Busy { .. }) => {
                        self.stats.barrier_busy += 1;
                        return Ok(Event::BarrierBusy);
                    }
                    Err(error) => return Err(error),
                }
                run.barrier_since = Some(self.clock.monotonic_ns());
                self.viewed = None;
                Ok(Event::BarrierTaken(facts(&self.index()?)))
            }
            Action::DropHold => {
                self.hold.end()?;
                Ok(Event::Ended)
            }
            Action::Retake => {
                let before = self.index()?;
                self.hold.begin_read(self.options.busy_timeout)?;
                let after = self.index()?;
                self.mark = after;
                Ok(Event::Begun { before: facts(&before), after: facts(&after) })
            }
            Action::Release => {
                self.spare.end()?;
                self.release_measured(run);
                Ok(Event::Released)
            }
        }
    }

    fn checkpoint(&mut self, run: &mut Run<'_>) -> Result<Event, Error> {
        let before = self.index()?;
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
        Ok(Event::Checkpointed { now: facts(&now), busy })
    }

    fn release_measured(&mut self, run: &mut Run<'_>) {
        if let Some(since) = run.barrier_since.take() {
            let held = self.clock.monotonic_ns().saturating_sub(since);
            run.done.barrier_ns = Some(run.done.barrier_ns.unwrap_or(0).max(held));
            self.stats.barrier.add(held);
        }
    }

    /// After a failed action: exactly one hold and no barrier. The hold is taken again *before* the barrier ends; if
    /// that fails, nothing protects the position any more, and it is given up.
    fn clean_up(&mut self, run: &mut Run<'_>) {
        if !self.hold.holds() {
            // Either under the barrier, or `EndHold` failed half-way: the spare still holds.
            let kept = self.hold.begin_read(self.options.barrier_timeout).and_then(|()| self.index());
            match kept {
                Ok(index) => self.mark = index,
                Err(error) => {
                    tracing::warn!(%error, path = %self.files.path.display(), "the hold is lost");
                    self.position = None;
                }
            }
            self.viewed = None;
        }
        if let Err(error) = self.spare.end() {
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
    began: u64,
}
