//! Upkeep beside the copying: each pass collects what a task came to, and starts the next one when it is due.
//!
//! Tasks and images run on the host, never on the writer's thread; a pass costs one comparison while nothing is due. At an end
//! they are dropped: every one of them can be repeated (decision 0004).

use crate::Catalogue;
use crate::error::{Error, Result};
use crate::local::local_header;
use crate::proven::Proven;
use crate::state::Staged;
use crate::upkeep::{Done, Report, Task, Upkeep};
use crate::write::beside::Job;
use crate::write::engine::Writer;
use crate::write::errand::Errand;
use crate::write::event::Event;
use crate::write::shot::Shot;
use ltx::{FileName, Txid};
use std::sync::mpsc::TryRecvError;
use tokio::sync::Semaphore;

/// Tasks at work in this process, over all databases: bounds memory and descriptors (P7).
static AT_WORK: Semaphore = Semaphore::const_new(4);

/// What a writer holds for the upkeep of its replica.
pub(crate) struct Keeping {
    pub(crate) upkeep: Upkeep,
    job: Option<(Task, Job<Result<Done>>)>,
    pub(crate) shot: Option<Shot>,
    /// No image before this.
    pub(crate) image_from: u64,
    /// Images put off in a row.
    pub(crate) put_off: u32,
    /// Bytes by which the WAL may grow while an image is read.
    pub(crate) wal_growth: u64,
}

impl Keeping {
    pub(crate) fn new(upkeep: Upkeep) -> Keeping {
        let wal_growth = upkeep.policy.wal_growth_of(0);
        Keeping { upkeep, job: None, shot: None, image_from: 0, put_off: 0, wal_growth }
    }

    /// When there is something to do, monotonic ns.
    pub(crate) fn due_at(&self) -> u64 {
        let image = if self.upkeep.wanted.is_some() { self.image_from } else { u64::MAX };
        self.upkeep.due_at().min(image)
    }

    /// Whether nothing is under way or due.
    pub(crate) fn is_resting(&self, now: u64) -> bool {
        self.job.is_none() && self.shot.is_none() && self.due_at() > now
    }

    /// Whether an image is to be begun.
    pub(crate) fn wants_image(&self, now: u64) -> bool {
        self.upkeep.wanted.is_some() && self.shot.is_none() && now >= self.image_from
    }
}

impl Writer {
    /// Takes over the replica that the start has listed; `catalogue` is from before the start's own files.
    pub(crate) fn begin_upkeep(&mut self, catalogue: &Catalogue, lineage: Option<u64>) -> Result<()> {
        let Some(mut policy) = self.config.upkeep.clone().filter(|_| !self.config.once) else {
            return Ok(());
        };
        let mut proven = None;
        if catalogue.has_proof && policy.reads {
            let store = self.store.clone();
            match self.ask(Proven::load(&store)) {
                Ok(proof) => proven = proof.and_then(|p| p.txid()),
                Err(Error::Store(e)) if e.reason() == "access_denied" => policy.reads = false,
                // A note nobody can read proves nothing; the next proof replaces it.
                Err(error) => tracing::warn!(%error, "the note of the last proof is not used"),
            }
        }
        let (store, clock, ids) = (self.store.clone(), self.clock.clone(), self.ids.clone());
        // A sidecar holds public keys: it can open nothing, and proves nothing; it compares digests (decision 0010).
        let (sealed, compares) = (self.form.is_sealed(), policy.reads);
        policy.reads &= !sealed;
        let mut upkeep = Upkeep::new(policy, catalogue, self.state.dir(), store, clock, ids)?;
        if sealed {
            upkeep.compare_digests(self.state.dir(), lineage.unwrap_or(0), compares);
        }
        upkeep.holdings.noted = proven;
        upkeep.holdings.proven = upkeep.holdings.proven.max(proven);
        // What was sent last before the end, by us or by the start of the pod, is still where it was staged.
        let staged = self.state.staged();
        let object = self.state.object();
        let stored = |size: u64| match self.form.is_sealed() {
            true => std::fs::metadata(&object).map_or(0, |meta| meta.len()),
            false => size,
        };
        let known =
            local_header(&staged).ok().zip(std::fs::metadata(&staged).ok()).and_then(|(header, meta)| {
                let name = FileName { min: header.min_txid, max: header.max_txid };
                upkeep.holdings.sync_file(name, stored(meta.len()))
            });
        if let Some(file) = known {
            upkeep.spool.keep(&staged, &file)?;
        }
        self.keeping = Some(Keeping::new(upkeep));
        Ok(())
    }

    /// Gives the upkeep away at an end: what was under way is done again by the next writer.
    pub(crate) fn part_upkeep(&mut self, now: u64) -> Option<Keeping> {
        let mut keeping = self.keeping.take()?;
        keeping.shot = None;
        if let Some((task, job)) = keeping.job.take() {
            drop(job);
            keeping.upkeep.spool.drop_scratch();
            keeping.upkeep.again(now, &task);
        }
        Some(keeping)
    }

    /// A level 0 file is confirmed: known, and kept on the volume if it fits.
    pub(crate) fn keep_sent(
        &mut self,
        txid: u64,
        size: u64,
        staged: Option<&Staged>,
        image: bool,
    ) -> Result<bool> {
        let txid = Txid::new(txid).expect("confirmed files have a TXID");
        let db_bytes = self.record.mark.map_or(0, |m| u64::from(m.commit) * u64::from(m.page_size));
        let Some(keeping) = &mut self.keeping else { return Ok(false) };
        keeping.wal_growth = keeping.upkeep.policy.wal_growth_of(db_bytes);
        let room = keeping.upkeep.policy.spool_of(db_bytes);
        keeping.upkeep.spool.bound(room);
        let sha256 = staged.filter(|staged| staged.apart).map(|staged| staged.sha256.clone());
        let file = keeping.upkeep.sent(txid, size, sha256);
        if image {
            keeping.upkeep.holdings.images.insert(txid);
            return Ok(false);
        }
        keeping.upkeep.spool.keep(&self.state.staged(), &file)
    }

    /// One step of upkeep. An error means that the replica is another writer's by now.
    pub(crate) fn keep_up(&mut self, now: u64, wal_bytes: u64) -> Result<()> {
        self.conclude_job(now)?;
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        let due = keeping.upkeep.is_due(now) || keeping.wants_image(now);
        if due && keeping.job.is_none() && !self.following.is_draining() {
            let proven = self.ours.is_proven(now);
            // If something is on its way, the answer to that says whose the replica is.
            let may_ask = !self.following.is_sending() && self.batch.is_empty() && self.record.confirmed > 0;
            if proven || may_ask {
                match keeping.upkeep.next(now) {
                    Some(task) if proven => self.begin_job(task),
                    // A timer for which nothing is to be done costs no question.
                    Some(task) => {
                        keeping.upkeep.again(now, &task);
                        self.ask_whose();
                    }
                    None if !proven && keeping.wants_image(now) => self.ask_whose(),
                    None => {}
                }
            }
        }
        self.watch_shot(now, wal_bytes);
        self.tell_reports();
        Ok(())
    }

    fn conclude_job(&mut self, now: u64) -> Result<()> {
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        let Some((_, result)) = &keeping.job else { return Ok(()) };
        let result = match result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => return Ok(()),
            // The host dropped it, as a crash would: it is done again.
            Err(TryRecvError::Disconnected) => None,
        };
        let (task, _) = keeping.job.take().expect("looked at above");
        match (task, result) {
            (Task::Look { behind, gaps }, Some(Ok(_))) => {
                if gaps == self.ours.gaps() && behind.get() == self.record.confirmed {
                    self.ours.proven(now);
                }
            }
            (Task::Look { behind, .. }, Some(Err(error @ Error::Fenced { .. }))) => {
                // What lies behind may be our own, sent meanwhile: its answer will say so.
                if behind.get() == self.record.confirmed && !self.following.is_sending() {
                    return Err(self.lose(error));
                }
            }
            (task, Some(result)) => conclude(&mut keeping.upkeep, now, &task, result),
            (task, None) => keeping.upkeep.again(now, &task),
        }
        Ok(())
    }

    fn ask_whose(&mut self) {
        let behind = Txid::new(self.record.confirmed).expect("only asked for what is confirmed");
        self.begin_job(Task::Look { behind, gaps: self.ours.gaps() });
    }

    fn begin_job(&mut self, task: Task) {
        let Some(keeping) = &self.keeping else { return };
        let scratch = keeping.upkeep.spool.scratch();
        let (store, host) = (self.store.clone(), self.host.clone());
        let (clock, form) = (self.clock.clone(), self.form.clone());
        let doing = task.clone();
        let result =
            self.in_turn(&AT_WORK, |leash| Errand { store, host, clock, scratch, form, leash }.run(doing));
        if let Some(keeping) = &mut self.keeping {
            keeping.job = Some((task, result));
        }
    }

    pub(crate) fn tell_reports(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        for report in keeping.upkeep.reports() {
            (self.events)(Event::Upkeep(report));
        }
    }

    /// Breaks off what is under way, and leaves nothing half-done on the volume.
    pub(crate) fn drop_upkeep(&mut self) {
        let Some(Keeping { upkeep, job, shot, .. }) = self.keeping.take() else { return };
        drop((job, shot));
        upkeep.spool.drop_scratch();
    }

    /// Asks for an image now, whatever is due.
    pub fn want_image(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.upkeep.want("asked for");
            keeping.image_from = 0;
        }
    }

    /// Whether a task or an image is under way.
    pub fn is_at_work(&self) -> bool {
        self.keeping.as_ref().is_some_and(|k| k.job.is_some() || k.shot.is_some())
    }

    /// Whether upkeep has nothing to do before something changes; scheduled checks excepted.
    pub fn is_settled(&self) -> bool {
        self.keeping.as_ref().is_none_or(|k| k.job.is_none() && k.shot.is_none() && k.upkeep.is_settled())
    }
}

fn conclude(upkeep: &mut Upkeep, now: u64, task: &Task, result: Result<Done>) {
    match result {
        Ok(done) => upkeep.done(now, done),
        Err(error) => {
            let reading =
                matches!(task, Task::Prove { .. } | Task::Sample(_) | Task::Compare(_) | Task::Merge(..));
            if reading && matches!(&error, Error::Store(e) if e.reason() == "access_denied") {
                upkeep.may_not_read();
            }
            if error.is_damage() && matches!(task, Task::Prove { .. } | Task::Sample(_) | Task::Compare(_)) {
                upkeep.found_damage(&error);
            } else {
                upkeep.again(now, task);
            }
            upkeep.failed(now, what(task), &error);
        }
    }
}

fn what(task: &Task) -> &'static str {
    match task {
        Task::Look { .. } => "look whether the replica is still ours",
        Task::List { .. } => "list the replica",
        Task::Resend(..) => "send a lost file again",
        Task::Merge(..) => "compact",
        Task::Prove { .. } | Task::Sample(_) | Task::Compare(_) => "read back",
        Task::Prune(_) => "delete",
    }
}

impl From<Report> for Event {
    fn from(report: Report) -> Event {
        Event::Upkeep(report)
    }
}
