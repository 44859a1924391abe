//! A replica as a list of names, moved by random steps: commits, claims, ticks of the levels, images, proofs, retention that is stopped
//! half-way, losses of what was kept on the volume.

use crate::layout::Level;
use crate::upkeep::compaction::{Bounds, MAX_INPUTS};
use crate::upkeep::{CLAIM_SIZE, Holding, Holdings, Outlook, Policy, RetentionPlan};
use ltx::{FileName, Txid};
use std::collections::{BTreeSet, HashSet};
use testkit::rng::Rng;

pub(crate) fn txid(value: u64) -> Txid {
    Txid::new(value).unwrap()
}

/// Files (level, min, max) of 100 bytes.
pub(crate) fn held(files: &[(u8, u64, u64)]) -> Holdings {
    let mut holdings = Holdings::default();
    for &(level, min, max) in files {
        let name = FileName { min: txid(min), max: txid(max) };
        holdings.add(Holding { level: Level(level), name, size: 100, time_ms: 0 });
    }
    holdings
}

/// Files (level, min, max, time) of 100 bytes.
pub(crate) fn aged(files: &[(u8, u64, u64, i64)]) -> Holdings {
    let mut holdings = Holdings::default();
    for &(level, min, max, time_ms) in files {
        let name = FileName { min: txid(min), max: txid(max) };
        holdings.add(Holding { level: Level(level), name, size: 100, time_ms });
    }
    holdings
}

pub(crate) struct Model {
    rng: Rng,
    pub(crate) holdings: Holdings,
    policy: Policy,
    newest: u64,
    now_ms: i64,
    /// Files of level 0 to 3 that cannot be read.
    away: HashSet<(Level, FileName)>,
    pub(crate) deleted: usize,
    claims: Vec<u64>,
    /// Marks that were ever made.
    proofs: BTreeSet<Txid>,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Model {
        let mut model = Model {
            rng: Rng::new(seed),
            holdings: Holdings::default(),
            policy: Policy { delete_budget: 7, ..Policy::default() },
            newest: 1,
            now_ms: 0,
            away: HashSet::new(),
            deleted: 0,
            claims: Vec::new(),
            proofs: BTreeSet::new(),
        };
        model.add(9, 1, 1, 5_000);
        model.claim();
        model
    }

    fn add(&mut self, level: u8, min: u64, max: u64, size: u64) {
        let name = FileName { min: txid(min), max: txid(max) };
        self.holdings.add(Holding { level: Level(level), name, size, time_ms: self.now_ms });
    }

    fn claim(&mut self) {
        self.newest += 1;
        self.claims.push(self.newest);
        self.add(0, self.newest, self.newest, CLAIM_SIZE);
    }

    pub(crate) fn step(&mut self) {
        if self.rng.below(6) == 0 { self.retain() } else { self.step_without_retention() }
    }

    pub(crate) fn step_without_retention(&mut self) {
        // Mostly seconds, sometimes days.
        self.now_ms += match self.rng.below(20) {
            0 => 86_400_000,
            1..=3 => 3_600_000,
            _ => 20_000,
        };
        match self.rng.below(30) {
            0 => self.claim(),
            1 => {
                // An image in the middle: adopted, or over a hole.
                self.newest += 1;
                self.add(0, self.newest, self.newest, 5_000);
                self.holdings.images.insert(txid(self.newest));
            }
            2 => {
                let gone: Vec<_> = self.holdings.iter().map(|h| (h.level, h.name)).collect();
                let some = self.rng.below(gone.len() as u64) as usize;
                self.away.insert(gone[some]);
            }
            3..=5 => self.add(9, 1, self.newest, 5_000),
            6 => {
                // Whoever proves from outside reads every byte of the chain.
                self.holdings.proven = Some(txid(self.newest));
                self.holdings.proofs.insert(txid(self.newest));
                self.proofs.insert(txid(self.newest));
            }
            7..=14 => {
                let to = 1 + self.rng.below(3) as u8;
                let bounds = Bounds { bytes: 4_000, inputs: MAX_INPUTS };
                let away = &self.away;
                let at_hand = |h: &Holding| !away.contains(&(h.level, h.name));
                if let Outlook::Merge(plan) = Outlook::of(&self.holdings, Level(to), bounds, at_hand) {
                    let (name, size) = (plan.name(), plan.bytes());
                    assert!(plan.inputs.windows(2).all(|w| w[1].name.min <= w[0].name.max.next()));
                    self.add(to, name.min.get(), name.max.get(), size);
                }
            }
            _ => {
                for _ in 0..=self.rng.below(4) {
                    self.newest += 1;
                    let size = 50 + self.rng.below(400) + CLAIM_SIZE;
                    self.add(0, self.newest, self.newest, size);
                }
            }
        }
    }

    /// A retention run that is stopped after any number of deletions.
    fn retain(&mut self) {
        let plan = RetentionPlan::new(&self.holdings, &self.policy, self.now_ms);
        plan.check(&self.holdings).expect("a plan passes its guard");
        let stop = match self.rng.below(2) {
            0 => plan.deletions.len(),
            _ => self.rng.below(plan.deletions.len() as u64 + 1) as usize,
        };
        for deletion in &plan.deletions[..stop] {
            assert!(self.holdings.remove(&deletion.file));
            self.deleted += 1;
            self.check("in the middle of a retention run");
        }
        if stop == plan.deletions.len() {
            self.holdings.proofs.retain(|mark| !plan.proofs.contains(mark));
            if !plan.more {
                let again = RetentionPlan::new(&self.holdings, &self.policy, self.now_ms);
                assert!(again.is_empty(), "a second run finds nothing: {again}");
                let points = self.holdings.proofs.iter().filter(|mark| self.holdings.reaches(**mark)).count();
                assert!(self.holdings.proofs.len() <= points + 1, "one mark at most is of no use");
            }
        }
    }

    /// What holds at any moment.
    pub(crate) fn check(&self, when: &str) {
        let newest = self.holdings.newest().unwrap();
        assert_eq!(newest, txid(self.newest), "{when}");
        assert!(self.holdings.reaches(newest), "{when}: the newest point is restorable");
        if let Some(proven) = self.holdings.proven {
            assert!(self.holdings.reaches(proven), "{when}: the proven point {proven} is restorable");
        }
        assert_eq!(self.holdings.proofs.last(), self.proofs.last(), "{when}: the newest mark of a proof");
        let lost = self
            .proofs
            .iter()
            .find(|mark| !self.holdings.proofs.contains(mark) && self.holdings.reaches(**mark));
        assert_eq!(lost, None, "{when}: the mark of a point that can be restored");
        assert_eq!(self.holdings.end_of(Level::SYNC), Some(newest), "{when}: level 0 has the newest");
        assert_eq!(self.holdings.first_gap(), None, "{when}: a gap that older restores refuse");
        for claim in self.claims.iter().rev().take(64) {
            let there = self.holdings.level_from(Level::SYNC, txid(*claim)).next();
            assert!(there.is_some_and(|h| h.name.min == txid(*claim)), "{when}: claim {claim} is gone");
        }
    }
}
