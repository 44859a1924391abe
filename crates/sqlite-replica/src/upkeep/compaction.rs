//! Which files of one level become one file of the next: a pure function of what is held.
//!
//! Rules, each because some Litestream 0.5 would refuse the replica otherwise (its older restore walks the levels from the top
//! down and demands that each continues the newest snapshot without a gap):
//! - a level continues where it ended; what is missing in between is never skipped, unless a snapshot reaches beyond it;
//! - an empty level begins where a snapshot ends;
//! - full images at level 0 are not rewritten: the level ends before them and goes on behind the next snapshot.
//!
//! A single file is left where it is: the newest file of level 0 stays anyway, so copying it upwards frees nothing.

use crate::layout::Level;
use crate::upkeep::holdings::{Holding, Holdings};
use ltx::{FileName, Txid};
use serde::Serialize;
use std::fmt;

/// Most files merged at once: each costs a descriptor and about 40 KiB (P7).
pub(crate) const MAX_INPUTS: usize = 32;

/// Files to be merged into one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompactionPlan {
    /// The level of the result.
    #[serde(serialize_with = "number")]
    pub to: Level,
    /// Oldest first, each continues the one before.
    pub inputs: Vec<Holding>,
}

fn number<S: serde::Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(level.0)
}

impl CompactionPlan {
    /// TXIDs of the result.
    pub fn name(&self) -> FileName {
        let (first, last) = (self.inputs.first(), self.inputs.last());
        let of = |h: Option<&Holding>| h.expect("a plan has inputs").name;
        FileName { min: of(first).min, max: of(last).max }
    }

    /// Bytes of the inputs.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|h| h.size).sum()
    }
}

impl fmt::Display for CompactionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for input in &self.inputs {
            writeln!(f, "{:>12} bytes  level {}  {}", input.size, input.level.0, input.name)?;
        }
        write!(f, "{:>12} bytes  become level {}  {}", self.bytes(), self.to.0, self.name())
    }
}

/// What a level needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing to merge.
    Nothing,
    /// This.
    Merge(CompactionPlan),
    /// The level cannot go on at this TXID before a snapshot reaches beyond it.
    Blocked {
        /// First TXID that cannot be merged.
        at: Txid,
        /// Why.
        why: Why,
    },
}

/// Why a level cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no snapshot for the level to stand on.
    NoSnapshot,
    /// A full image lies at level 0.
    Image,
    /// The file is not on the volume, and the store may not be read or the file is too large to be worth it.
    NotAtHand,
    /// There is no such file.
    Hole,
}

/// Bounds of one merge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most bytes of inputs.
    pub(crate) bytes: u64,
    /// Most files.
    pub(crate) inputs: usize,
}

impl Outlook {
    /// What level `to` needs. `at_hand` says whether a file can be read.
    pub(crate) fn of(
        holdings: &Holdings,
        to: Level,
        bounds: Bounds,
        at_hand: impl Fn(&Holding) -> bool,
    ) -> Outlook {
        let from = Level(to.0 - 1);
        let Some(end) = holdings.end_of(from) else { return Outlook::Nothing };
        let mut start = match holdings.end_of(to) {
            Some(reached) => reached.next(),
            None => match begin(holdings, from) {
                Some(start) => start,
                None => return Outlook::Blocked { at: Txid::FIRST, why: Why::NoSnapshot },
            },
        };
        // At most once over a gap, and only where a snapshot bridges it.
        for attempt in 0..2 {
            if start > end {
                return Outlook::Nothing;
            }
            match stretch(holdings, from, start, bounds, &at_hand) {
                (inputs, None) if inputs.len() < 2 => return Outlook::Nothing,
                // Before a barrier even a single file goes up, so that nothing stays behind when the level jumps.
                (inputs, Some(_)) | (inputs, None) if !inputs.is_empty() => {
                    return Outlook::Merge(CompactionPlan { to, inputs });
                }
                (_, Some((at, why))) => match over(holdings, from, at) {
                    Some(beyond) if attempt == 0 => start = beyond,
                    _ => return Outlook::Blocked { at, why },
                },
                (_, None) => return Outlook::Nothing,
            }
        }
        Outlook::Nothing
    }
}

/// Where an empty level begins: at the oldest file that continues a snapshot.
fn begin(holdings: &Holdings, from: Level) -> Option<Txid> {
    let snapshots: Vec<Txid> = holdings.level(Level::SNAPSHOT).map(|s| s.name.max).collect();
    let newest = snapshots.iter().max()?;
    let exact = snapshots
        .iter()
        .filter(|s| holdings.level_from(from, s.next()).next().is_some_and(|h| h.name.min == s.next()));
    Some(exact.min().unwrap_or(newest).next())
}

/// Where a level goes on after a barrier at `at`: behind the newest snapshot, if that reaches beyond the barrier.
fn over(holdings: &Holdings, from: Level, at: Txid) -> Option<Txid> {
    let snapshot = holdings.level(Level::SNAPSHOT).map(|s| s.name.max).max().filter(|max| *max >= at)?;
    // A level above the first may have files that reach across the end of the snapshot.
    let across = holdings
        .level_from(from, at.next())
        .find(|h| h.name.min <= snapshot.next() && h.name.max > snapshot)
        .map(|h| h.name.min);
    Some(across.unwrap_or(snapshot.next()))
}

/// The files from `start` on, up to a barrier or a bound.
fn stretch(
    holdings: &Holdings,
    from: Level,
    start: Txid,
    bounds: Bounds,
    at_hand: &impl Fn(&Holding) -> bool,
) -> (Vec<Holding>, Option<(Txid, Why)>) {
    let (mut inputs, mut next, mut bytes) = (Vec::<Holding>::new(), start, 0);
    // A file that begins before and reaches beyond `start` (Litestream's may).
    let straddling = holdings.level(from).find(|h| h.name.min < start && h.name.max >= start);
    for h in straddling.into_iter().chain(holdings.level_from(from, start)) {
        if h.name.max < next {
            continue;
        }
        let barrier = if h.name.min > next {
            Some((next, Why::Hole))
        } else if from == Level::SYNC && holdings.is_base(&h) {
            Some((h.name.min, Why::Image))
        } else if h.size > bounds.bytes / 2 || !at_hand(&h) {
            Some((h.name.min, Why::NotAtHand))
        } else {
            None
        };
        if barrier.is_some() {
            return (inputs, barrier);
        }
        if inputs.len() >= bounds.inputs || bytes + h.size > bounds.bytes {
            return (inputs, None);
        }
        bytes += h.size;
        next = h.name.max.next();
        inputs.push(h);
    }
    (inputs, None)
}

#[cfg(test)]
#[path = "compaction/tests.rs"]
mod tests;
