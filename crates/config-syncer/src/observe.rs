//! Events of one tree as log lines, metrics and status.

use clock::Clock;
use file_replica::watch::Event;
use file_replica::{Class, Error};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use telemetry::{Health, StoreMetrics, TreeMetrics};

/// What is known of one tree.
pub(crate) struct Observed {
    name: String,
    replica: String,
    metrics: TreeMetrics,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    state: &'static str,
    error: Option<String>,
    claim: u64,
    snapshot: u64,
    entries: u64,
    unstable: u64,
    unreadable: u64,
    last_matching_ms: i64,
    pending_since_ms: Option<u64>,
    proven: Option<u64>,
}

impl Observed {
    pub(crate) fn new(
        name: &str,
        replica: &str,
        metrics: TreeMetrics,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
    ) -> Observed {
        let seen = Mutex::new(Seen { state: "starting", ..Seen::default() });
        Observed { name: name.to_owned(), replica: replica.to_owned(), metrics, clock, health, seen }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer has begun under this claim.
    pub(crate) fn claimed(&self, claim: u64, snapshot: u64) {
        let mut seen = self.seen();
        (seen.claim, seen.snapshot, seen.state) = (claim, snapshot, "watching");
        self.metrics.claim(claim, false);
        tracing::info!(tree = self.name, claim, snapshot, "claimed");
    }

    /// Takes one event of the loop.
    pub(crate) fn take(&self, event: Event<'_>) {
        let tree = &self.name;
        let mut seen = self.seen();
        match event {
            Event::Beat => self.health.beat(),
            Event::Mode { inotify } => {
                self.metrics.watch_mode(inotify);
                tracing::info!(tree, inotify, "watching");
            }
            Event::Overflow => {
                self.metrics.overflow();
                tracing::warn!(tree, "the kernel dropped events; everything is looked at again");
            }
            Event::Pending(since) => {
                seen.pending_since_ms = since;
                drop(seen);
                self.refresh();
            }
            Event::Looked(done, took) => {
                seen.state = "watching";
                seen.error = None;
                seen.entries = done.tracked;
                (seen.unstable, seen.unreadable) = (done.unstable, done.unreadable);
                if done.unstable == 0 && !done.moved {
                    seen.last_matching_ms = self.clock.unix_ms();
                    self.metrics.synced(seen.last_matching_ms);
                }
                self.metrics.tracked(done.tracked, done.unstable);
                self.metrics.unreadable(done.unreadable);
                self.metrics.look(if done.head.is_some() { "committed" } else { "unchanged" });
                if let Some(head) = &done.head {
                    seen.snapshot = head.number;
                    self.metrics.committed(done.uploaded, done.deleted, took.as_secs_f64());
                    tracing::info!(
                        tree,
                        snapshot = head.number,
                        uploaded = done.uploaded,
                        deleted = done.deleted,
                        stored_bytes = done.stored_bytes,
                        unstable = done.unstable,
                        ms = took.as_millis() as u64,
                        "committed"
                    );
                }
            }
            Event::Failed(error) => {
                drop(seen);
                self.failed(error);
            }
            Event::Verified(verified) => {
                seen.proven = Some(verified.snapshot);
                self.metrics.verified(self.clock.unix_ms(), true);
                tracing::info!(tree, snapshot = verified.snapshot, bytes = verified.bytes, "proven");
            }
            Event::Unproven(error) => {
                // Not being allowed to read proves nothing, neither good nor bad.
                if error.class() == Class::Damaged {
                    self.metrics.verified(self.clock.unix_ms(), false);
                }
                tracing::warn!(tree, %error, "the newest snapshot could not be proven");
            }
            Event::Pruned { deleted } => {
                self.metrics.pruned(self.clock.unix_ms(), deleted);
                tracing::info!(tree, deleted, "pruned");
            }
            Event::PruneFailed(error) => {
                self.metrics.prune_failed();
                tracing::warn!(tree, %error, "retention failed");
            }
        }
    }

    /// A look failed, or the writer could not begin.
    pub(crate) fn failed(&self, error: &Error) {
        let mut seen = self.seen();
        let text = error.to_string();
        seen.state = match error.class() {
            Class::Fenced => "fenced",
            Class::Refused => "refused",
            _ => "behind",
        };
        if error.class() == Class::Fenced {
            self.metrics.claim(seen.claim, true);
            self.health.hold_ready(
                &format!("fenced:{}", self.name),
                format!("{} belongs to another writer", self.name),
            );
        }
        self.metrics.look("failed");
        self.metrics.error(error.reason());
        // One line per change of state, not per try.
        if seen.error.as_ref() != Some(&text) {
            tracing::error!(tree = self.name, error = text, "not stored");
        }
        seen.error = Some(text);
    }

    /// Ages grow without events: called every few seconds.
    pub(crate) fn refresh(&self) {
        let seen = self.seen();
        let now = self.clock.monotonic_ns() / 1_000_000;
        let waits = seen.pending_since_ms.map(|since| Duration::from_millis(now.saturating_sub(since)));
        self.metrics.pending(waits.map(|w| w.as_secs_f64()));
    }

    /// For `/status`.
    pub(crate) fn status(&self) -> serde_json::Value {
        let seen = self.seen();
        let now = self.clock.unix_ms();
        let matching = (seen.last_matching_ms > 0).then_some(seen.last_matching_ms);
        serde_json::json!({
            "tree": self.name,
            "replica": self.replica,
            "state": seen.state,
            "error": seen.error,
            "claim": seen.claim,
            "snapshot": seen.snapshot,
            "entries": seen.entries,
            "unstable": seen.unstable,
            "unreadable": seen.unreadable,
            "proven": seen.proven,
            "last_matching": matching.map(clock::format_unix_ms),
            "age_seconds": matching.map(|at| (now - at) / 1_000),
        })
    }
}

/// Requests to the store as metrics.
pub(crate) struct Requests(pub(crate) Arc<StoreMetrics>);

impl store::Observer for Requests {
    fn observe(&self, o: &store::Observation) {
        let error = (o.outcome != "ok").then_some(o.outcome);
        self.0.request(o.operation.as_str(), o.duration.as_secs_f64(), error, 0, o.sent);
    }
}
