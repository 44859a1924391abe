//! Whether the replica is still ours, asked before upkeep changes anything in it (P4).
//!
//! Level 0 needs no such question: its numbers are the fence. A merged file, an image or a deletion takes no number, so a writer
//! that was stopped while a successor took over would go on with them. A confirmed number proves ownership for a few seconds; after a
//! longer silence, or when passes failed to come (a stopped process, a suspended machine), one LIST behind the newest number of
//! ours does. What was under way when the process was stopped cannot be called back: it repeats confirmed files of the common
//! history under a create-only name, or deletes what that history no longer needs.

use crate::error::{Error, Result};
use futures::stream::TryStreamExt;
use std::time::Duration;
use store::Store;

/// How long a confirmed number proves that the replica is ours.
const FRESH: Duration = Duration::from_secs(5);
/// Passes come every second; a longer pause means that this process did not run.
const GAP: Duration = Duration::from_secs(2);

/// What is known about the ownership. Times are monotonic nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    until: u64,
    last_pass: u64,
    gaps: u32,
}

impl Ours {
    /// A number of ours was confirmed, or nobody else's lies behind it.
    pub(crate) fn proven(&mut self, now: u64) {
        self.until = now + FRESH.as_nanos() as u64;
    }

    /// A pass begins.
    pub(crate) fn passes(&mut self, now: u64) {
        if now.saturating_sub(self.last_pass) > GAP.as_nanos() as u64 {
            self.until = 0;
            self.gaps = self.gaps.wrapping_add(1);
        }
        self.last_pass = now;
    }

    /// Whether upkeep may change the replica without asking.
    pub(crate) fn is_proven(&self, now: u64) -> bool {
        now < self.until
    }

    /// Distinguishes answers from before a gap from those after it.
    pub(crate) fn gaps(&self) -> u32 {
        self.gaps
    }
}

/// One LIST: nothing may lie behind `key` in its level.
pub(crate) async fn nothing_behind(store: &Store, key: &str) -> Result<()> {
    let level = key.rsplit_once('/').map_or("", |(level, _)| level);
    let mut behind = store.list(&format!("{level}/"), Some(key));
    match behind.try_next().await? {
        None => Ok(()),
        Some(other) => Err(Error::Fenced {
            what: format!("{} lies behind what was written last: another writer has been here", other.key),
            hint: "nothing since the last confirmed object is durable".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn p4_a_proof_of_ownership_ends_by_itself_and_at_a_gap() {
        let mut ours = Ours::default();
        ours.passes(100 * SECOND);
        assert!(!ours.is_proven(100 * SECOND), "nothing is known at first");
        ours.proven(100 * SECOND);
        for second in 100..105 {
            ours.passes(second * SECOND);
            assert!(ours.is_proven(second * SECOND), "{second}");
        }
        ours.passes(105 * SECOND);
        assert!(!ours.is_proven(105 * SECOND));
        ours.proven(105 * SECOND);
        let before = ours.gaps();
        ours.passes(108 * SECOND);
        assert!(!ours.is_proven(108 * SECOND) && ours.gaps() != before, "stopped for three seconds");
    }
}
