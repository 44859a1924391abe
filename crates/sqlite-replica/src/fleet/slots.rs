//! Who may have a writer: a bounded number of databases is attached at a time (trap 14, P7).
//!
//! A pure function. As long as nobody waits, nobody has to go: with no more databases than slots every writer stays. When somebody
//! waits, a writer gives up its slot that has everything durable and has been quiet for [`Rules::quiet`], the longest quiet first; if none
//! is quiet, one that has everything durable and had its [`Rules::turn`]. So a busy database does not keep a waiting one out for
//! ever, and one that is behind (a first image, a store that is down) is never sent away.

use std::time::Duration;

/// The knobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Writers at a time.
    pub(crate) slots: usize,
    /// Quiet for this long, a writer may go.
    pub(crate) quiet: Duration,
    /// Had for this long, a slot may be taken away from one that is not quiet.
    pub(crate) turn: Duration,
}

/// A writer that has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) index: usize,
    /// Everything seen is durable.
    pub(crate) caught_up: bool,
    /// Since the last commit was seen.
    pub(crate) quiet: Duration,
    /// Since it has the slot.
    pub(crate) held: Duration,
    /// It was told to go already.
    pub(crate) leaving: bool,
}

/// Who is to go, so that as many of those who wait as possible can come.
pub(crate) fn leave(rules: &Rules, holders: &[Holder], waiting: usize) -> Vec<usize> {
    let leaving = holders.iter().filter(|h| h.leaving).count();
    let free = rules.slots.saturating_sub(holders.len());
    let wanted = waiting.saturating_sub(free + leaving);
    let mut able: Vec<&Holder> = holders
        .iter()
        .filter(|h| !h.leaving && h.caught_up && (h.quiet >= rules.quiet || h.held >= rules.turn))
        .collect();
    // The longest quiet first; among the busy ones the longest held.
    able.sort_by_key(|h| {
        std::cmp::Reverse((h.quiet >= rules.quiet, if h.quiet >= rules.quiet { h.quiet } else { h.held }))
    });
    able.into_iter().take(wanted).map(|h| h.index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { slots: 3, quiet: Duration::from_secs(5), turn: Duration::from_secs(30) };

    fn holder(index: usize, quiet: u64, held: u64) -> Holder {
        let (quiet, held) = (Duration::from_secs(quiet), Duration::from_secs(held));
        Holder { index, caught_up: true, quiet, held, leaving: false }
    }

    #[test]
    fn p7_who_goes_is_the_longest_quiet_and_nobody_without_need() {
        let (a, b, c) = (holder(0, 6, 99), holder(1, 60, 99), holder(2, 0, 10));
        assert_eq!(leave(&RULES, &[a, b, c], 0), Vec::<usize>::new());
        assert_eq!(leave(&RULES, &[a, b], 1), Vec::<usize>::new(), "one slot is free");
        assert_eq!(leave(&RULES, &[a, b, c], 1), [1]);
        assert_eq!(leave(&RULES, &[a, b, c], 9), [1, 0], "the third is neither quiet nor had its turn");
        assert_eq!(leave(&RULES, &[a, Holder { leaving: true, ..b }, c], 1), Vec::<usize>::new());
    }

    #[test]
    fn busy_ones_take_turns_and_none_that_is_behind_is_sent_away() {
        let (a, b, c) = (holder(0, 0, 31), holder(1, 0, 45), holder(2, 0, 29));
        assert_eq!(leave(&RULES, &[a, b, c], 3), [1, 0]);
        let behind = Holder { caught_up: false, ..holder(1, 900, 900) };
        assert_eq!(leave(&RULES, &[a, behind, c], 3), [0]);
    }
}
