//! The application that acts while the writer is in the middle of something.
//!
//! The writer asks its clock between any two actions of the tail protocol; a simulated clock may let the application commit,
//! checkpoint or VACUUM before it answers. So a commit falls between copy and checkpoint, between checkpoint and lock,
//! between look and copy: where a streamer loses data if it can.

use crate::application;
use crate::oracle::Oracle;
use crate::volume::Volume;
use clock::{Clock, ManualClock, UnixMs};
use std::cell::RefCell;
use std::sync::Arc;
use testkit::rng::Rng;

/// The application of one volume during one pass.
pub struct Interloper {
    /// Its volume.
    pub volume: Volume,
    /// Where its commits are noted.
    pub oracle: Oracle,
    /// What it did, for the trace.
    pub done: Vec<String>,
    /// What went wrong.
    pub failure: Option<anyhow::Error>,
    rng: Rng,
    /// It acts once in so many questions for the time.
    chance: u64,
}

thread_local! {
    static PRESENT: RefCell<Option<Interloper>> = const { RefCell::new(None) };
}

impl Interloper {
    /// Lets the application of `volume` act while `work` runs.
    pub fn beside<T>(
        volume: Volume,
        oracle: Oracle,
        mut rng: Rng,
        work: impl FnOnce() -> T,
    ) -> (T, Interloper) {
        let chance = *rng.pick(&[4, 30, 100]);
        let here = Interloper { volume, oracle, done: Vec::new(), failure: None, rng, chance };
        PRESENT.with_borrow_mut(|present| *present = Some(here));
        let result = work();
        let gone = PRESENT.with_borrow_mut(Option::take);
        (result, gone.expect("put there above"))
    }

    fn act(&mut self) {
        if self.failure.is_some() || crate::disk::is_dead() || !self.rng.one_in(self.chance) {
            return;
        }
        let acted = application::act(&mut self.volume, &mut self.rng)
            .and_then(|what| self.volume.note(&mut self.oracle).map(|_| what));
        match acted {
            Ok(what) => self.done.push(format!("  meanwhile {what}, state {:?}", self.volume.head)),
            Err(error) => self.failure = Some(error),
        }
    }
}

/// A clock that takes the opportunity.
pub struct SimClock(pub Arc<ManualClock>);

impl Clock for SimClock {
    fn unix_ms(&self) -> UnixMs {
        self.0.unix_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        // The application's own work asks for no time; a nested question changes nothing.
        PRESENT.with(|present| {
            if let Ok(mut present) = present.try_borrow_mut()
                && let Some(interloper) = present.as_mut()
            {
                interloper.act();
            }
        });
        self.0.monotonic_ns()
    }
}
