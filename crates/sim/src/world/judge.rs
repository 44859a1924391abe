//! What must be true after a step, after a restore, and when everything has come to rest.

use super::World;
use super::history::History;
use crate::disk;
use crate::network::Fate;
use crate::oracle::State;
use crate::pod::{Around, restore_to};
use crate::volume::Volume;
use anyhow::{Context, Result, ensure};
use clock::Clock;
use futures::future::FutureExt;
use sqlite_replica::{
    By, Catalogue, Event, Holdings, How, Progress, Proven, Report, RestoreOptions, VerifyOptions, points,
    verify,
};
use std::sync::Arc;

/// Passes after which a healthy world has come to rest.
const REST: u32 = 200;
/// Passes after that, a second and a half apart.
const LIFE: u32 = 120;

impl World {
    /// What the pod said in a step that began with the state `before`.
    pub(super) fn look(&mut self, volume: usize, before: Option<State>) -> Result<()> {
        let Some(pod) = &self.pods[volume] else { return Ok(()) };
        for event in pod.take_events() {
            match event {
                Event::Durable { txid, .. } => {
                    let state =
                        self.state_of(Some(txid))?.context("P1: a durable point cannot be restored")?;
                    self.oracle.report(state)?;
                    self.volumes[volume].reported = Some(state);
                    self.count("durable");
                    self.say(format!("  durable: {txid} is state {state}"));
                }
                Event::CaughtUp => {
                    let Some(head) = before else { continue };
                    // What a dead process sent, or a claim was made on, was reported by nobody yet.
                    if self.oracle.caught_up(head).is_err()
                        && let Some(state) = self.state_of(None)?
                    {
                        self.oracle.report(state)?;
                    }
                    self.oracle.caught_up(head)?;
                }
                Event::Compared { reason, pages } => {
                    self.count("comparisons");
                    self.say(format!("  compared, {pages} pages: {reason}"));
                }
                Event::Resumed => self.count("proven resumes"),
                // A guard that has to step in means that a planner is wrong.
                Event::Upkeep(Report::Failed { what, error, .. }) if error.contains("by its guard") => {
                    anyhow::bail!("P3: {what}: {error}")
                }
                // Nobody damages anything here.
                Event::Upkeep(Report::Verified { ok: false, finding, .. }) => {
                    anyhow::bail!("P6: a check finds {}", finding.unwrap_or_default())
                }
                Event::Upkeep(Report::Verified { how, .. }) => self.count(match how {
                    How::Bytes => "checks of bytes",
                    _ => "checks of names",
                }),
                Event::Upkeep(Report::Pruned { deleted, .. }) if deleted > 0 => self.count("prunings"),
                Event::Upkeep(Report::Compacted { .. }) => self.count("merges"),
                Event::ImageStarted { why, .. } => self.say(format!("  image: {why}")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Restores and finds the state; `None` if there is nothing to restore.
    pub(super) fn state_of(&mut self, txid: Option<u64>) -> Result<Option<State>> {
        let out = self.scratch.path().join("restored.db");
        let _ = std::fs::remove_file(&out);
        match restore_to(&self.healthy, &self.around, &out, txid) {
            Ok(()) => {}
            Err(sqlite_replica::Error::Nothing { .. }) => return Ok(None),
            Err(error) => return Err(error).context("a restore failed"),
        }
        self.count("restores");
        let state = self.oracle.find(Volume::file_image(&out)?);
        state.map(Some).context("P2: the restored database was never committed")
    }

    /// Somebody restores the newest state, or any.
    pub(super) fn restore(&mut self) -> Result<String> {
        let restored = self.state_of(None)?;
        match (restored, self.oracle.durable()) {
            (Some(state), Some(durable)) => ensure!(
                self.oracle.continues(state, durable),
                "P1: the restore gives state {state}, and {durable} was reported durable"
            ),
            (None, Some(durable)) => {
                anyhow::bail!("P1: nothing can be restored, and {durable} was reported durable")
            }
            _ => {}
        }
        if let Some(proven) = self.proven()? {
            let state = self.state_of(Some(proven)).context("P3: the proven point cannot be restored")?;
            ensure!(state.is_some(), "P3: the proven point {proven} is gone");
            self.count("restores of a proven point");
        }
        if restored.is_some() && self.around.key.seals() && self.rng.one_in(2) {
            self.prove()?;
        }
        Ok(format!("a restore gives state {restored:?}"))
    }

    /// Somebody with the identity verifies what no pod can open, and records it.
    fn prove(&mut self) -> Result<()> {
        let restore =
            RestoreOptions { identities: self.around.key.identities(), ..RestoreOptions::default() };
        let scratch = self.scratch.path().to_owned();
        let options = VerifyOptions { all: true, full: false, scratch, restore };
        let Around { runtime, clock, .. } = &self.around;
        let progress = Arc::new(Progress::default());
        let found = runtime.block_on(verify(&self.healthy, &options, &progress)).context("verify")?;
        ensure!(found.ok, "P1: the replica is found damaged: {:?}", found.findings);
        let through = found.provable.context("P1: nothing is provable")?.parse()?;
        runtime
            .block_on(Proven::new(through, clock.unix_ms(), By::Verify, found.how).announce(&self.healthy))?;
        self.count("proofs from outside");
        Ok(())
    }

    /// Up to where somebody has read the replica back, if a file ends there still: a later proof that is not noted yet lets level 0
    /// be thinned up to itself.
    fn proven(&self) -> Result<Option<u64>> {
        let Around { runtime, .. } = &self.around;
        let proof = runtime.block_on(Proven::load(&self.healthy))?.and_then(|proof| proof.txid());
        let points = points(&runtime.block_on(Catalogue::load(&self.healthy))?);
        Ok(proof.filter(|txid| points.iter().any(|point| point.txid == *txid)).map(ltx::Txid::get))
    }

    /// The levels continue the newest snapshot without a gap: restores before Litestream 0.5.8 walk them from the top down.
    pub(super) fn levels(&self) -> Result<()> {
        let catalogue = self.around.runtime.block_on(Catalogue::load(&self.healthy))?;
        match Holdings::from(&catalogue).first_gap() {
            Some(gap) => anyhow::bail!("P2: behind the newest snapshot the levels have a gap at TXID {gap}"),
            None => Ok(()),
        }
    }

    /// No more trouble: one pod comes up, and everything committed becomes durable.
    pub(super) fn rest(&mut self) -> Result<()> {
        disk::disarm();
        (self.trouble, self.resting) = (0, true);
        while !self.strays.is_empty() {
            let what = self.stray();
            self.say(format!("rest: {what}"));
        }
        for volume in 0..self.volumes.len() {
            self.kill_pod(volume);
        }
        while !self.strays.is_empty() {
            self.stray();
        }
        let volume = self.rng.below(self.volumes.len() as u64) as usize;
        for _ in 0..REST {
            if self.pods[volume].is_none() {
                let what = self.start(volume)?;
                self.say(format!("rest: {what}"));
                continue;
            }
            if self.volumes[volume].head.is_none() {
                let what = self.application(volume)?;
                self.say(format!("rest: {what}"));
                continue;
            }
            let what = self.writer(volume)?;
            self.say(format!("rest: {what}"));
            let pod = self.pods[volume].as_ref().expect("started above");
            if pod.fenced || pod.refused {
                self.kill_pod(volume);
                continue;
            }
            pod.network.deliver(Fate::Answered);
            let head = self.volumes[volume].head;
            self.look(volume, head)?;
            let key = &self.around.key;
            self.history.look(&*self.bucket, key).now_or_never().expect("memory answers at once")?;
            self.around.clock.advance_ms(5_000);
            self.date.advance_ms(5_000);
            let restored = self.state_of(None)?;
            let head = self.volumes[volume].head;
            if head.is_some() && restored == head && self.oracle.durable() == head {
                return self.live_on(volume);
            }
        }
        anyhow::bail!(
            "P1: state {:?} was committed and is not reported durable in the end (that is {:?})",
            self.volumes[volume].head,
            self.oracle.durable()
        )
    }

    /// Minutes without trouble: levels, restore points and retention take their turns, and nothing is lost by them (P3).
    fn live_on(&mut self, volume: usize) -> Result<()> {
        for round in 0..LIFE {
            if round % 4 == 0 {
                let what = self.application(volume)?;
                self.say(format!("later: {what}"));
            }
            let head = self.volumes[volume].head;
            let what = self.writer(volume)?;
            self.say(format!("later: {what}"));
            self.pods[volume].as_ref().expect("it is up").network.deliver(Fate::Answered);
            self.look(volume, head)?;
            self.levels()?;
            let key = &self.around.key;
            self.history.look(&*self.bucket, key).now_or_never().expect("memory answers at once")?;
            // Shorter than what a writer takes for a pause.
            self.around.clock.advance_ms(1_500);
            self.date.advance_ms(1_500);
            if round % 15 == 14 {
                let what = self.restore()?;
                self.say(format!("later: {what}"));
            }
        }
        let secrets = History::secrets(&*self.bucket, &self.around.key);
        secrets.now_or_never().expect("memory answers at once")
    }
}
