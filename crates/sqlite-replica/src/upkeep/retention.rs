//! Which files may go: a value with a reason per object, made by a pure function, checked by guards before anything is deleted.
//!
//! P3 in rules. Only what lies at or below the newest *proven* point (read back from the store) is ever named; never a file that
//! a restore of the newest point, or of one that a note of a proof names, reads; never the newest file of level 0 (Litestream takes the position from
//! it); never a claim that still fences (trap 3). Ages are relative to the newest point, so an idle or stopped writer
//! loses nothing (trap 17). What a merged file replaces stays for a grace period, because a restore under way has listed it.

mod rules;

use crate::layout::Level;
use crate::upkeep::holdings::{Holding, Holdings};
use crate::upkeep::policy::Policy;
use crate::upkeep::retention::rules::Rules;
use clock::UnixMs;
use ltx::Txid;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Why a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A file of a higher level holds the same transactions.
    Merged,
    /// A snapshot reaches beyond it, and no level could take it in.
    Bridged,
    /// It lies below the oldest image that is kept with its increments.
    TooOld,
    /// A snapshot that no rule of `keep` asks for.
    NotKept,
    /// A claim so old that nobody it fences can be left.
    OldClaim,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Merged => "merged into a higher level",
            Reason::Bridged => "a snapshot reaches beyond it",
            Reason::TooOld => "below the oldest image kept with its increments",
            Reason::NotKept => "no rule keeps this snapshot",
            Reason::OldClaim => "an old claim",
        })
    }
}

/// One deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// What.
    pub file: Holding,
    /// Why.
    pub reason: Reason,
}

/// What a retention run would delete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RetentionPlan {
    /// In the order of their deletion: increments oldest first, then snapshots.
    pub deletions: Vec<Deletion>,
    /// Files that stay.
    pub kept: usize,
    /// More is due than the budget of one run allows.
    pub more: bool,
    /// Level 0 images among them, whose marks go with them.
    #[serde(skip)]
    pub(crate) marks: BTreeSet<Txid>,
    /// Marks of proofs whose points are gone once this is done; a drill a day leaves one a day.
    #[serde(serialize_with = "words")]
    pub proofs: BTreeSet<Txid>,
    /// The marks that were known when this was planned; whoever carries it out looks for newer ones first.
    #[serde(skip)]
    pub(crate) marked: BTreeSet<Txid>,
    /// Why nothing may be deleted at all.
    pub held_back: Option<&'static str>,
}

impl RetentionPlan {
    /// Plans. `now_ms` is the time by the clock that gave the files theirs.
    pub fn new(holdings: &Holdings, policy: &Policy, now_ms: UnixMs) -> RetentionPlan {
        let held_back =
            |why| RetentionPlan { kept: holdings.len(), held_back: Some(why), ..RetentionPlan::default() };
        let Some(newest) = holdings.newest() else { return RetentionPlan::default() };
        let Some(proven) = holdings.proven.filter(|p| holdings.reaches(*p)) else {
            return held_back("no point was proven yet");
        };
        if !holdings.reaches(newest) {
            return held_back("the chain has a hole");
        }
        let rules = Rules::new(holdings, policy, now_ms, proven, newest);
        let mut deletions: Vec<Deletion> = holdings
            .iter()
            .filter_map(|file| rules.verdict(&file).map(|reason| Deletion { file, reason }))
            .collect();
        deletions.sort_by_key(|d| (d.file.level, d.file.name.min));
        let more = deletions.len() > policy.delete_budget;
        deletions.truncate(policy.delete_budget);
        let marks = deletions
            .iter()
            .filter(|d| d.file.level == Level::SYNC && holdings.images.contains(&d.file.name.min))
            .map(|d| d.file.name.min)
            .collect();
        let (mut proofs, mut more) = (BTreeSet::new(), more);
        // What is left is only made where a mark may have lost its point: it is as large as the replica's history (P7).
        if !holdings.proofs.is_empty() {
            let mut after = holdings.clone();
            for d in &deletions {
                after.remove(&d.file);
            }
            let mut stale = after.stale_proofs();
            proofs = stale.by_ref().take(policy.delete_budget - deletions.len()).collect();
            more |= stale.next().is_some();
        }
        let kept = holdings.len() - deletions.len();
        let marked = holdings.proofs.clone();
        RetentionPlan { kept, deletions, more, marks, proofs, marked, held_back: None }
    }

    /// Whether nothing is to go.
    pub fn is_empty(&self) -> bool {
        self.deletions.is_empty() && self.proofs.is_empty()
    }

    /// Bytes that become free.
    pub fn bytes(&self) -> u64 {
        self.deletions.iter().map(|d| d.file.size).sum()
    }

    /// Checks a plan against what must never happen, independently of how it was made. The first rule it breaks.
    pub fn check(&self, holdings: &Holdings) -> Result<(), String> {
        let Some(newest) = holdings.newest() else { return Ok(()) };
        if self.is_empty() {
            return Ok(());
        }
        let mut after = holdings.clone();
        for d in &self.deletions {
            if !after.remove(&d.file) {
                return Err(format!("{} is not there", d.file));
            }
        }
        self.check_proofs(holdings, &after)?;
        if self.deletions.is_empty() {
            return Ok(());
        }
        let Some(proven) = holdings.proven else { return Err("nothing is proven".into()) };
        let vouched = holdings.vouched().map(|point| ("proven", point));
        for (what, point) in [("newest", newest), ("proven", proven)].into_iter().chain(vouched) {
            if after.chain(point) != holdings.chain(point) {
                return Err(format!("a restore of the {what} point {point} would read other files"));
            }
        }
        if let Some(beyond) = self.deletions.iter().find(|d| d.file.name.max > proven) {
            return Err(format!("{} lies beyond the proven point {proven}", beyond.file));
        }
        let last = holdings.level(Level::SYNC).next_back();
        if let Some(last) = last.filter(|h| !after.contains(h)) {
            return Err(format!("{last} is the newest of level 0"));
        }
        match (after.first_gap(), holdings.first_gap()) {
            (Some(gap), before) if before != Some(gap) => {
                Err(format!("the levels would have a gap at {gap} behind the newest snapshot"))
            }
            _ => Ok(()),
        }
    }

    /// A mark may go only with its point, and never the newest: without reading, that one is all there is of a proof.
    fn check_proofs(&self, holdings: &Holdings, after: &Holdings) -> Result<(), String> {
        for mark in &self.proofs {
            if !holdings.proofs.contains(mark) {
                return Err(format!("no proof of {mark} is marked"));
            }
            if holdings.proofs.last() == Some(mark) {
                return Err(format!("the mark of {mark} is the newest"));
            }
            if after.reaches(*mark) {
                return Err(format!("the point {mark} that a proof marks can be restored"));
            }
        }
        Ok(())
    }
}

fn words<S: serde::Serializer>(txids: &BTreeSet<Txid>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(txids.iter().map(ToString::to_string))
}

impl fmt::Display for RetentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = self.held_back {
            return write!(f, "nothing may be deleted: {why}");
        }
        for Deletion { file, reason } in &self.deletions {
            writeln!(f, "{:>12} bytes  level {}  {}  {reason}", file.size, file.level.0, file.name)?;
        }
        write!(
            f,
            "{:>12} bytes  in {} files to delete, {} stay",
            self.bytes(),
            self.deletions.len(),
            self.kept
        )?;
        if !self.proofs.is_empty() {
            write!(f, "; marks of {} proofs whose points are gone", self.proofs.len())?;
        }
        if self.more {
            write!(f, "; more in the next run")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "retention/tests.rs"]
mod tests;
