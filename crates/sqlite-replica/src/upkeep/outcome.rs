//! What the result of a task changes: what is known of the replica, the spool, the timers; and what is to be told.

use crate::catalogue::Catalogue;
use crate::layout::Level;
use crate::proven::How;
use crate::upkeep::compaction::CompactionPlan;
use crate::upkeep::holdings::{Holding, Holdings};
use crate::upkeep::prune::Pruned;
use crate::upkeep::report::{Healing, Report};
use crate::upkeep::task::{Done, Task};
use crate::upkeep::{FIRST_PAUSE, LAST_PAUSE, REST, Upkeep};
use ltx::Txid;
use std::collections::HashSet;

impl Upkeep {
    /// Takes in the result of a task.
    pub(crate) fn done(&mut self, now: u64, done: Done) {
        self.failures = 0;
        match done {
            Done::Ours => {}
            Done::Merged(stored, plan) => {
                self.note_digest(&stored);
                self.merged(now, stored.file, &plan);
            }
            Done::Listed { catalogue, scheduled } => {
                self.listed(now, &catalogue);
                self.sample = scheduled && (self.policy.reads || self.compares);
            }
            Done::Sampled(read) => {
                tracing::debug!(read, "files of the chain read back");
                let through = self.holdings.newest().map_or(0, Txid::get);
                self.reports.push(Report::Verified { how: How::Bytes, ok: true, through, finding: None });
            }
            Done::Resent(stored) => {
                self.note_digest(&stored);
                let file = stored.file;
                self.spool.restored_as(file.level, file.name, file.size);
                self.holdings.add(file);
                self.reports.push(Report::Healed { by: Healing::Resent, txid: file.name.min.get() });
                if self.resend.is_empty() {
                    self.healing = None;
                    self.diagnose();
                }
            }
            Done::Proven { files, through, point, read } => {
                self.read_back.extend(files.iter().map(|h| (h.level, h.name)));
                self.holdings.proven = self.holdings.proven.max(Some(through));
                if point {
                    self.holdings.noted = Some(through);
                    self.point_reached(now, through, true, read);
                    self.timers.arm_retention(now, self.policy.grace);
                }
            }
            Done::Pruned(pruned) => self.pruned(now, &pruned),
            Done::Marked(marks) => {
                self.holdings.proven = self.holdings.proven.max(marks.last().copied());
                self.holdings.proofs = marks;
                self.timers.retention_now(now);
            }
        }
        self.reports.push(Report::Objects(self.holdings.len()));
    }

    fn merged(&mut self, now: u64, file: Holding, plan: &CompactionPlan) {
        self.holdings.add(file);
        let scratch = self.spool.scratch();
        // Its inputs make room first; a result that does not fit is read from the store, or the next level waits for a snapshot.
        let to = plan.to;
        self.settle_spool();
        let kept = to.0 < 3 && self.spool.keep(&scratch, &file).unwrap_or(false);
        if !kept {
            let _ = std::fs::remove_file(&scratch);
        }
        self.timers.arm_level(to.0, now, self.policy.levels[usize::from(to.0) - 1]);
        if to.0 < 3 {
            self.timers.arm_level(to.0 + 1, now, self.policy.levels[usize::from(to.0)]);
        }
        self.timers.arm_retention(now, self.policy.grace.max(self.policy.thin[0]));
        self.reports.push(Report::Compacted {
            level: to.0,
            files: plan.inputs.len(),
            through: file.name.max.get(),
            bytes: file.size,
        });
    }

    fn pruned(&mut self, now: u64, pruned: &Pruned) {
        for file in &pruned.gone {
            self.holdings.remove(file);
            self.read_back.remove(&(file.level, file.name));
            if file.level == Level::SYNC {
                self.holdings.images.remove(&file.name.min);
            }
        }
        self.holdings.proofs.retain(|mark| !pruned.proofs.contains(mark));
        if pruned.failed > 0 {
            self.timers.rest_retention(now, REST);
        } else if !pruned.gone.is_empty() || !pruned.proofs.is_empty() {
            // What the budget of one run left; a look costs no request.
            self.timers.retention_now(now);
        }
        self.reports.push(Report::Pruned {
            deleted: pruned.gone.len(),
            bytes: pruned.gone.iter().map(|h| h.size).sum(),
            failed: pruned.failed,
            error: pruned.error.as_ref().map(ToString::to_string),
        });
    }

    /// Compares what was listed with what was known.
    fn listed(&mut self, now: u64, catalogue: &Catalogue) {
        let mut fresh = Holdings::from(catalogue);
        // Stored after its page of the listing was made: not there is not lost.
        for file in self.meanwhile.take().unwrap_or_default() {
            if !fresh.contains(&file) {
                fresh.add(file);
            }
        }
        let known = std::mem::replace(&mut self.holdings, fresh);
        self.holdings.proven = self.holdings.proven.max(known.proven);
        self.holdings.noted = known.noted;
        let newest = known.newest().max(self.holdings.newest());
        let lost = known.newest().filter(|n| !self.holdings.reaches(*n));
        let finding = self
            .holdings
            .hole()
            .or_else(|| lost.map(|n| format!("TXID {n} was stored and cannot be restored any more")));
        let resized = self.holdings.resized(&known);
        let finding = finding
            .or_else(|| resized.map(|(file, before)| format!("{file} was stored with {before} bytes")));
        self.reports.push(Report::Verified {
            how: How::Chain,
            ok: finding.is_none(),
            through: newest.map_or(0, Txid::get),
            finding,
        });
        let kept: HashSet<_> = self.holdings.iter().map(|h| (h.level, h.name)).collect();
        self.read_back.retain(|file| kept.contains(file));
        // What was lost is on the volume, or an image bridges it. The newest of level 0 is wanted even where a level has it.
        if let Some(h) = known.level(Level::SYNC).next_back().filter(|h| !self.holdings.contains(h))
            && let Some(path) = self.spool.path(&h)
        {
            self.resend.push_back((h, path));
        }
        if self.holdings.proofs.len() > 1 {
            // Somebody proves from outside, and leaves a mark each time: a look costs no request.
            self.timers.retention_now(now);
        }
        if resized.is_some() {
            self.want("a file of the replica was changed");
        }
        if let Some(newest) = known.newest() {
            self.diagnose_up_to(newest, known.chain(newest));
        }
    }

    /// A hole in what the replica holds is closed from the volume, else by an image (P1).
    pub(super) fn diagnose(&mut self) {
        if let Some(newest) = self.holdings.newest() {
            self.diagnose_up_to(newest, Vec::new());
        }
    }

    fn diagnose_up_to(&mut self, newest: Txid, known: Vec<Holding>) {
        if self.holdings.reaches(newest) {
            return;
        }
        let at = self.holdings.chain(newest).last().map_or(Txid::FIRST, |h| h.name.max.next());
        tracing::warn!(%at, "the chain of the replica has a hole");
        self.healing = Some(at);
        let kept = self.spool.files().filter(|h| h.name.max <= newest && !self.holdings.contains(h));
        let known = known.into_iter().filter(|h| !self.holdings.contains(h) && self.spool.has(h));
        let again: Vec<_> = kept.chain(known).filter_map(|h| Some((h, self.spool.path(&h)?))).collect();
        let mut mended = self.holdings.clone();
        again.iter().for_each(|(h, _)| mended.add(*h));
        if mended.reaches(newest) {
            let mut seen: HashSet<_> = self.resend.iter().map(|(h, _)| (h.level, h.name)).collect();
            self.resend.extend(again.into_iter().filter(|(h, _)| seen.insert((h.level, h.name))));
        } else {
            self.want("the chain of the replica has a hole");
        }
    }

    /// A task failed; everything waits a little.
    pub(crate) fn failed(&mut self, now: u64, what: &'static str, error: &crate::Error) {
        let pause = (FIRST_PAUSE * (1 << self.failures.min(7))).min(LAST_PAUSE);
        self.failures += 1;
        self.timers.not_before = now + pause.as_nanos() as u64;
        if let crate::Error::Store(e) = error
            && (e.is_not_found() || e.is_fenced())
        {
            self.suspect("the store answered what should not be");
        }
        self.reports.push(Report::Failed {
            what,
            error: error.to_string(),
            reason: error.reason(),
            retry_in: pause,
        });
    }

    /// Reading back found something wrong: say so, look at the replica, and put an image over it.
    pub(crate) fn found_damage(&mut self, error: &crate::Error) {
        let through = self.holdings.newest().map_or(0, Txid::get);
        self.reports.push(Report::Verified {
            how: How::Bytes,
            ok: false,
            through,
            finding: Some(error.to_string()),
        });
        self.healing = self.holdings.newest();
        self.suspicious = true;
        self.want("a file of the replica is damaged");
    }

    /// A task that read from the store was refused: from now on nothing is read.
    pub(crate) fn may_not_read(&mut self) {
        (self.policy.reads, self.compares) = (false, false);
    }

    /// Puts the timer of a failed task back.
    pub(crate) fn again(&mut self, now: u64, task: &Task) {
        match task {
            Task::Look { .. } => {}
            Task::List { scheduled } => {
                self.meanwhile = None;
                match scheduled {
                    true => self.timers.verify_now(now),
                    false => self.suspicious = true,
                }
            }
            Task::Resend(file, path) => self.resend.push_back((*file, path.clone())),
            Task::Merge(plan, _) => self.timers.level_now(plan.to.0, now),
            Task::Prove { point: true, .. } => self.timers.point_now(now),
            Task::Prove { .. } => {}
            Task::Sample(_) | Task::Compare(_) => self.sample = true,
            Task::Prune(_) => self.timers.retention_now(now),
        }
    }
}
