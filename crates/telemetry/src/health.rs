//! What the three probes of a pod answer.
//!
//! * *started*: the restore of this pod is known to be over, or nobody has to wait for one.
//! * *live*: the main loop beat within the limit and nothing declared the process dead. Only a restart helps otherwise.
//! * *ready*: started, and nothing holds readiness back. A store that is down must not hold it: it would take the
//!   application down with the bucket. Being fenced does (P4).
//!
//! Every "no" has a reason that a person reads in the probe's answer. Causes are names from the code, so their number is
//! bounded. Time is injected and monotonic: setting the wall clock kills nobody.

use clock::Clock;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Started, live, ready; shared by the main loop and the HTTP server.
pub struct Health {
    clock: Arc<dyn Clock>,
    beat_limit_ns: u64,
    last_beat_ns: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting_for: Option<String>,
    dead: Option<String>,
    unlive: BTreeMap<String, String>,
    unready: BTreeMap<String, String>,
}

impl Health {
    /// Not started, live for `beat_limit` from now.
    pub fn new(clock: Arc<dyn Clock>, beat_limit: Duration) -> Self {
        Self {
            last_beat_ns: AtomicU64::new(clock.monotonic_ns()),
            beat_limit_ns: u64::try_from(beat_limit.as_nanos()).unwrap_or(u64::MAX),
            state: Mutex::new(State {
                waiting_for: Some("starting".into()),
                dead: None,
                unlive: BTreeMap::new(),
                unready: BTreeMap::new(),
            }),
            clock,
        }
    }

    /// The main loop is alive. Call it at least every `beat_limit`, also while there is nothing to do.
    pub fn beat(&self) {
        self.last_beat_ns.store(self.clock.monotonic_ns(), Ordering::Relaxed);
    }

    /// Not started yet, and why, e.g. `waiting for restored.json`.
    pub fn wait_for(&self, what: impl Into<String>) {
        self.state().waiting_for = Some(what.into());
    }

    /// Started; from here on readiness depends on [`Self::hold_ready`] alone.
    pub fn set_started(&self) {
        self.state().waiting_for = None;
    }

    /// Holds readiness back for a cause, e.g. `("fenced:app.db", "another pod owns app.db since epoch 7")`.
    pub fn hold_ready(&self, cause: &str, reason: impl Into<String>) {
        self.state().unready.insert(cause.to_owned(), reason.into());
    }

    /// The cause is gone.
    pub fn release_ready(&self, cause: &str) {
        self.state().unready.remove(cause);
    }

    /// Only a restart helps, e.g. a task that must never end has ended.
    pub fn declare_dead(&self, reason: impl Into<String>) {
        self.state().dead.get_or_insert(reason.into());
    }

    /// Something is stuck for a cause that may still go away, e.g. `("stalled:app.db", "nothing is tried for app.db")`.
    pub fn hold_live(&self, cause: &str, reason: impl Into<String>) {
        self.state().unlive.insert(cause.to_owned(), reason.into());
    }

    /// The cause is gone.
    pub fn release_live(&self, cause: &str) {
        self.state().unlive.remove(cause);
    }

    /// The answer of `/startz`.
    pub fn started(&self) -> Result<(), String> {
        match &self.state().waiting_for {
            None => Ok(()),
            Some(what) => Err(what.clone()),
        }
    }

    /// The answer of `/livez`.
    pub fn live(&self) -> Result<(), String> {
        let state = self.state();
        if let Some(reason) = state.dead.as_ref().or(state.unlive.values().next()) {
            return Err(reason.clone());
        }
        drop(state);
        let silent_ns = self.clock.monotonic_ns().saturating_sub(self.last_beat_ns.load(Ordering::Relaxed));
        if silent_ns <= self.beat_limit_ns {
            return Ok(());
        }
        let (silent, limit) = (Duration::from_nanos(silent_ns), Duration::from_nanos(self.beat_limit_ns));
        Err(format!("the main loop has been silent for {} s (limit {} s)", silent.as_secs(), limit.as_secs()))
    }

    /// The answer of `/readyz`.
    pub fn ready(&self) -> Result<(), String> {
        self.started()?;
        let state = self.state();
        if state.unready.is_empty() {
            return Ok(());
        }
        Err(state.unready.values().map(String::as_str).collect::<Vec<_>>().join("; "))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("state", &*self.state()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::ManualClock;

    fn health() -> (Arc<ManualClock>, Health) {
        let clock = Arc::new(ManualClock::at(0));
        (Arc::clone(&clock), Health::new(clock, Duration::from_secs(10)))
    }

    #[test]
    fn a_silent_loop_is_dead_after_the_limit() {
        let (clock, health) = health();
        clock.advance_ms(10_000);
        assert_eq!(health.live(), Ok(()));
        clock.advance_ms(1);
        assert!(health.live().unwrap_err().contains("silent for 10 s (limit 10 s)"));
        health.beat();
        clock.jump_to(1_000_000_000);
        assert_eq!(health.live(), Ok(()), "the wall clock does not count");
    }

    #[test]
    fn the_first_reason_to_die_is_kept() {
        let (_, health) = health();
        health.declare_dead("the uploader ended");
        health.declare_dead("a consequence");
        assert_eq!(health.live(), Err("the uploader ended".into()));
    }

    #[test]
    fn what_is_stuck_is_not_live_until_it_moves() {
        let (_, health) = health();
        health.hold_live("stalled:a", "nothing is tried for a");
        assert_eq!(health.live(), Err("nothing is tried for a".into()));
        health.release_live("stalled:a");
        assert_eq!(health.live(), Ok(()));
    }

    #[test]
    fn ready_means_started_and_held_by_nothing() {
        let (_, health) = health();
        health.wait_for("waiting for restored.json");
        assert_eq!(health.ready(), Err("waiting for restored.json".into()));
        health.set_started();
        assert_eq!(health.ready(), Ok(()));
        health.hold_ready("fenced:a", "another pod owns a");
        health.hold_ready("fenced:b", "another pod owns b");
        health.release_ready("fenced:a");
        assert_eq!(health.ready(), Err("another pod owns b".into()));
        health.release_ready("fenced:b");
        assert_eq!((health.ready(), health.started()), (Ok(()), Ok(())));
    }
}
