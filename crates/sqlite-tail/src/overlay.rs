//! Which frame holds the newest version of each page: eight bytes per page, in a window of page numbers.
//!
//! A WAL of many GiB may touch more pages than memory should hold (P7). The overlay covers pages `low..high` and
//! has at most [`CAPACITY`] entries (16 MiB while it is built); who asks for a page outside gets it rebuilt from there.
//! Reading in ascending order therefore scans the frame headers once per million distinct pages.

/// Most entries kept.
const CAPACITY: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Overlay {
    low: u32,
    /// First page not covered; `None` if all pages from `low` are.
    high: Option<u32>,
    /// Sorted by page; one entry per page: (page, frame).
    entries: Vec<(u32, u32)>,
    capacity: usize,
}

impl Overlay {
    pub(crate) fn from_page(low: u32) -> Self {
        Self::with_capacity(low, CAPACITY)
    }

    fn with_capacity(low: u32, capacity: usize) -> Self {
        Self { low, high: None, entries: Vec::new(), capacity }
    }

    /// Takes note of a frame; frames come in ascending order.
    pub(crate) fn note(&mut self, pgno: u32, frame: u32) {
        if pgno < self.low || self.high.is_some_and(|high| pgno >= high) {
            return;
        }
        self.entries.push((pgno, frame));
        if self.entries.len() >= 2 * self.capacity {
            self.settle();
        }
    }

    /// To be called after the last `note`.
    pub(crate) fn settle(&mut self) {
        self.entries.sort_unstable_by_key(|(pgno, frame)| (*pgno, std::cmp::Reverse(*frame)));
        self.entries.dedup_by_key(|(pgno, _)| *pgno);
        if self.entries.len() > self.capacity {
            self.high = Some(self.entries[self.capacity].0);
            self.entries.truncate(self.capacity);
        }
    }

    pub(crate) fn covers(&self, pgno: u32) -> bool {
        pgno >= self.low && self.high.is_none_or(|high| pgno < high)
    }

    /// The newest frame of a covered page.
    pub(crate) fn frame(&self, pgno: u32) -> Option<u32> {
        let at = self.entries.binary_search_by_key(&pgno, |(pgno, _)| *pgno).ok()?;
        Some(self.entries[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P7: whatever the WAL touches, the window stays small and every page is answered rightly.
    #[test]
    fn p7_windows_answer_like_one_big_map() {
        let frames: Vec<(u32, u32)> = (1..=500u32).map(|frame| ((frame * 37) % 101 + 1, frame)).collect();
        for capacity in [1, 3, 50, 1000] {
            let build = |low| {
                let mut overlay = Overlay::with_capacity(low, capacity);
                frames.iter().for_each(|(pgno, frame)| overlay.note(*pgno, *frame));
                overlay.settle();
                assert!(overlay.entries.len() <= capacity);
                overlay
            };
            let mut overlay = build(1);
            for pgno in 1..=110 {
                if !overlay.covers(pgno) {
                    overlay = build(pgno);
                }
                assert!(overlay.covers(pgno));
                let newest = frames.iter().rev().find(|(p, _)| *p == pgno).map(|(_, frame)| *frame);
                assert_eq!(overlay.frame(pgno), newest);
            }
        }
    }
}
