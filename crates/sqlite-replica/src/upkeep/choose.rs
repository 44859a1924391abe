//! Which task comes next: the timers in their order, each asked whether it is due and what it takes.

use crate::layout::{Layout, Level};
use crate::upkeep::compaction::{Bounds, MAX_INPUTS, Outlook, Why};
use crate::upkeep::holdings::Holding;
use crate::upkeep::retention::RetentionPlan;
use crate::upkeep::snapshot::SnapshotPlan;
use crate::upkeep::task::Task;
use crate::upkeep::{SAMPLE, SAMPLE_BYTES, Upkeep, prune, store_now};
use ltx::Txid;

impl Upkeep {
    /// The next task, with its timers put back.
    pub(crate) fn next(&mut self, now: u64) -> Option<Task> {
        if now < self.timers.not_before {
            return None;
        }
        if let Some((file, path)) = self.resend.pop_front() {
            return Some(Task::Resend(file, path));
        }
        if std::mem::take(&mut self.suspicious) {
            return Some(self.list(false));
        }
        if self.timers.take_verify(now, self.policy.verify, &*self.ids) {
            return Some(self.list(true));
        }
        if std::mem::take(&mut self.sample)
            && let Some(task) = self.sampled()
        {
            return Some(task);
        }
        for to in 1..=3 {
            if self.timers.take_level(to, now)
                && let Some(task) = self.merge(to)
            {
                return Some(task);
            }
        }
        if self.timers.take_point(now)
            && let Some(task) = self.restore_point(now)
        {
            return Some(task);
        }
        if self.timers.take_retention(now) {
            return self.retention(now);
        }
        None
    }

    fn list(&mut self, scheduled: bool) -> Task {
        self.meanwhile = Some(Vec::new());
        Task::List { scheduled }
    }

    fn merge(&mut self, to: u8) -> Option<Task> {
        let bounds = Bounds { bytes: self.policy.spool_bytes.max(1 << 20), inputs: MAX_INPUTS };
        let (spool, reads) = (&self.spool, self.policy.reads);
        match Outlook::of(&self.holdings, Level(to), bounds, |h| reads || spool.has(h)) {
            Outlook::Nothing => None,
            Outlook::Merge(plan) => {
                let local = plan.inputs.iter().map(|h| self.spool.path(h)).collect();
                Some(Task::Merge(plan, local))
            }
            Outlook::Blocked { at, why } => {
                tracing::debug!(level = to, %at, ?why, "a level waits for a snapshot");
                self.blocked = Some(why);
                // Files that are not at hand wait for the next restore point: an image for them alone may cost more than it saves.
                if why != Why::NotAtHand {
                    self.want("the levels need a snapshot to go on");
                }
                None
            }
        }
    }

    fn restore_point(&mut self, now: u64) -> Option<Task> {
        let newest = self.holdings.newest()?;
        match SnapshotPlan::new(&self.holdings, &self.policy, self.blocked) {
            // Proven for retention's sake, and not noted yet.
            SnapshotPlan::Nothing if self.policy.reads && self.holdings.noted < self.holdings.proven => {
                let through = self.holdings.proven.unwrap_or(newest);
                Some(Task::Prove { files: Vec::new(), through, point: true })
            }
            SnapshotPlan::Nothing => {
                let proven = self.holdings.proven.is_some();
                self.point_reached(now, newest, proven, 0);
                None
            }
            SnapshotPlan::Image { why } => {
                self.want(why);
                None
            }
            SnapshotPlan::Prove { .. } if !self.policy.reads => {
                self.point_reached(now, newest, false, 0);
                None
            }
            SnapshotPlan::Prove { .. } => Some(self.proof_of(newest, newest, true)),
        }
    }

    fn proof_of(&self, of: Txid, through: Txid, point: bool) -> Task {
        let chain = self.holdings.chain(of).into_iter().filter(|h| h.name.max <= through);
        let files = chain.filter(|h| !self.read_back.contains(&(h.level, h.name))).collect();
        Task::Prove { files, through, point }
    }

    /// Some files of the chain at random: what was right when it was stored may rot. Of a sealed replica those whose digest is known.
    fn sampled(&self) -> Option<Task> {
        let layout = Layout::of(self.store.kind());
        let mut files = self.holdings.chain(self.holdings.newest()?);
        files.retain(|h| h.size <= SAMPLE_BYTES);
        let digests = self.digests.as_ref().map(|known| known.of(files.iter().map(|h| h.key(layout))));
        if let Some(digests) = &digests {
            files.retain(|h| digests.contains_key(&h.key(layout)));
        }
        while files.len() > SAMPLE {
            files.swap_remove((self.ids.next_u64() % files.len() as u64) as usize);
        }
        if files.is_empty() {
            return None;
        }
        let Some(mut digests) = digests else { return Some(Task::Sample(files)) };
        let digest = |h: Holding| Some((h, digests.remove(&h.key(layout))?));
        Some(Task::Compare(files.into_iter().filter_map(digest).collect()))
    }

    /// First the proof of what stands in for the files that are to go, then the plan.
    fn retention(&mut self, now: u64) -> Option<Task> {
        let newest = self.holdings.newest()?;
        let chain = self.holdings.chain(newest);
        // Levels 0 and 1 are about to be merged further: proving them now would read them twice.
        let solid = chain.iter().take_while(|h| h.level.0 >= 2).last().map(|h| h.name.max);
        if let Some(through) = solid.filter(|_| self.policy.reads) {
            let proof = self.proof_of(newest, through, false);
            if matches!(&proof, Task::Prove { files, .. } if !files.is_empty()) {
                self.timers.retention_now(now);
                return Some(proof);
            }
            self.holdings.proven = self.holdings.proven.max(Some(through));
        }
        let plan = RetentionPlan::new(&self.holdings, &self.policy, store_now(&self.store, &*self.clock));
        if plan.is_empty() {
            return None;
        }
        if let Err(rule) = plan.check(&self.holdings) {
            self.failed(now, "retention", &prune::refused(rule));
            return None;
        }
        Some(Task::Prune(plan))
    }
}
