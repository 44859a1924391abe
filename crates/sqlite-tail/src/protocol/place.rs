//! Where the hold is, and whether somebody may be waiting for it to move.

use super::words::Facts;
use std::cmp::Reverse;

/// What is locked between two ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// One of READ_LOCK(1..4), whose mark this is: nobody can restart the WAL, nobody backfills beyond the mark.
    Pin { mark: u32 },
    /// READ_LOCK(0), taken when this was copied and backfilled: nobody can backfill.
    Zero { at: Facts },
}

impl Hold {
    /// Whether it keeps others from backfilling, or from restarting a WAL that may be restarted.
    pub(super) fn is_in_the_way(&self, now: &Facts) -> bool {
        match self {
            Hold::Pin { .. } => now.complete() || !self.is_a_good_pin(now),
            Hold::Zero { at } => !now.complete() || !now.same_state(at),
        }
    }

    /// Whether it is a pin that lets everything published be backfilled. The mark "not used" is the highest number,
    /// so it stays good.
    pub(super) fn is_a_good_pin(&self, now: &Facts) -> bool {
        matches!(self, Hold::Pin { mark } if *mark >= now.mx_frame)
    }
}

/// The slots 0 to 3 of READ_LOCK(1..4), best pin first: unused ones (nobody can change the mark while we hold the
/// lock), then by mark; from the end, because SQLite's readers start at the front.
pub(crate) fn preference(marks: [u32; 4]) -> [usize; 4] {
    let mut slots = [0, 1, 2, 3];
    slots.sort_by_key(|slot| Reverse((marks[*slot], *slot)));
    slots
}
