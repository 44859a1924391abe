//! Which files give back a state: newest base first, then always the file that reaches furthest without a gap.
//!
//! Only file boundaries are restorable, each of them a committed state (P2). A hole is an error that names it and the newest
//! point before it; nothing is skipped silently.

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Error, Result};
use ltx::Txid;
use std::fmt;

/// The files to apply, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePlan {
    /// Oldest first; the first is a full image, each continues the one before.
    pub files: Vec<Entry>,
}

impl RestorePlan {
    /// Plans a restore of the newest state, or of exactly the state at `txid`.
    pub fn new(catalogue: &Catalogue, txid: Option<Txid>) -> Result<RestorePlan> {
        let Some(newest) = catalogue.newest() else { return Err(nothing(catalogue)) };
        let target = txid.unwrap_or(newest);
        if target > newest {
            return Err(Error::Nothing {
                what: format!("TXID {target} does not exist"),
                hint: format!("the newest is {newest}; `restore list` shows all points"),
            });
        }
        let plan = RestorePlan { files: chain(catalogue, target) };
        match plan.reaches() {
            Some(reached) if reached == target => Ok(plan),
            Some(reached)
                if txid.is_some()
                    && catalogue.entries.iter().any(|e| e.name.min <= target && e.name.max > target) =>
            {
                Err(Error::Nothing {
                    what: format!("TXID {target} is no longer a point of its own, only {reached} before it"),
                    hint: "`restore list` shows all points".into(),
                })
            }
            Some(reached) => Err(Error::Damaged {
                what: format!("no file continues after TXID {reached}, and the replica goes on to {target}"),
                hint: format!(
                    "the chain is whole up to {reached}: restore that with --latest-valid or --txid {reached}"
                ),
            }),
            None => Err(Error::Damaged {
                what: "there is no full image to start from".into(),
                hint: format!("the oldest file begins at {}", oldest(catalogue)),
            }),
        }
    }

    /// The plan that gets furthest towards `target` (or towards the newest), over whatever is left of the chain.
    pub fn furthest(catalogue: &Catalogue, target: Option<Txid>) -> Option<RestorePlan> {
        let target = target.or(catalogue.newest())?;
        // An image behind a hole begins a chain of its own, so the newest base is right even where something before it is lost.
        let files = chain(catalogue, target);
        (!files.is_empty()).then_some(RestorePlan { files })
    }

    /// The object the plan ends with.
    pub fn newest(&self) -> &Entry {
        self.files.last().expect("a plan has at least one file")
    }

    /// The TXID the plan ends at.
    pub fn reaches(&self) -> Option<Txid> {
        self.files.last().map(|f| f.name.max)
    }

    /// Bytes to fetch.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

/// Requests of a restore: one listing per thousand objects, one header, one per small object, and for large ones header, index and
/// parts.
impl RestorePlan {
    /// How many, about: indexes of huge objects take a few more.
    pub fn requests(&self) -> u64 {
        2 + self.files.iter().map(|f| crate::restore::object::requests(f.size)).sum::<u64>()
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "{:>12} bytes  level {}  {}", file.size, file.level.0, file.name)?;
        }
        write!(f, "{:>12} bytes  in {} files", self.bytes(), self.files.len())
    }
}

/// The greedy chain from the newest full image towards `target`; empty if there is no image.
fn chain(catalogue: &Catalogue, target: Txid) -> Vec<Entry> {
    let usable = || catalogue.entries.iter().filter(|e| e.name.max <= target);
    let further = |e: &&Entry| (e.name.max, std::cmp::Reverse(e.name.min), e.level);
    let Some(base) = usable().filter(|e| catalogue.is_base(e)).max_by_key(further) else { return Vec::new() };
    // Ascending by begin: one pass extends the chain, so that planning is O(n log n) for any number of files.
    let mut by_begin: Vec<&Entry> = usable().filter(|e| e.name.max > base.name.max).collect();
    by_begin.sort_by_key(|e| e.name.min);
    let mut files = vec![base.clone()];
    let (mut reached, mut next, mut best) = (base.name.max, 0, None::<&Entry>);
    loop {
        while let Some(e) = by_begin.get(next).filter(|e| e.name.min.get() <= reached.get() + 1) {
            if best.is_none_or(|b| further(e) > further(&b)) {
                best = Some(e);
            }
            next += 1;
        }
        match best.take() {
            Some(e) if e.name.max > reached => {
                reached = e.name.max;
                files.push(e.clone());
            }
            _ => return files,
        }
    }
}

fn oldest(catalogue: &Catalogue) -> String {
    catalogue.entries.iter().map(|e| e.name.min).min().map_or_else(|| "nowhere".into(), |t| t.to_string())
}

fn nothing(catalogue: &Catalogue) -> Error {
    let hint = if catalogue.has_generations {
        "the prefix holds Litestream 0.3 generations, which this version does not restore"
    } else if catalogue.has_lineage {
        "a writer claimed it but has not finished its first image"
    } else {
        "check bucket and prefix"
    };
    Error::Nothing { what: "nothing to restore: the replica holds no files".into(), hint: hint.into() }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
