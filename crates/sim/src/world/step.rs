//! One step: what happens next, and what must be true afterwards.

use super::World;
use crate::application;
use crate::disk::{self, Death, Image};
use crate::interloper::Interloper;
use crate::network::{Fate, Network};
use crate::oracle::State;
use crate::pod::{Pod, Started, restore_to};
use crate::volume::Volume;
use anyhow::{Context, Result, ensure};
use futures::future::FutureExt;
use sqlite_replica::Event;
use testkit::rng::Rng;

/// Passes after which a healthy world has come to rest.
const REST: u32 = 200;

impl World {
    pub(super) fn step(&mut self, step: u64) -> Result<()> {
        let heads: Vec<Option<State>> = self.volumes.iter().map(|v| v.head).collect();
        self.volumes.iter_mut().for_each(|v| v.replaced = false);
        let volume = if self.rng.one_in(4) { 1 } else { 0 };
        let what = match self.rng.below(100) {
            _ if self.pods[volume].is_none() => self.start(volume)?,
            0..=39 => self.application(volume)?,
            40..=71 => self.writer(volume)?,
            72..=81 => self.deliver(volume),
            82..=88 => self.time(),
            89..=91 => self.restore()?,
            92..=94 => self.arm(volume),
            95 => {
                self.count("deaths of a sidecar");
                let pod = self.pods[volume].as_mut().expect("looked at above");
                pod.kill();
                self.strays.extend(pod.network.take_under_way());
                format!("sidecar {volume} is killed")
            }
            96 => self.volume_event(volume)?,
            97 if self.pods[volume].as_ref().is_some_and(|p| p.fenced || p.refused) || self.rng.one_in(3) => {
                self.kill_pod(volume);
                format!("pod {volume} is deleted")
            }
            _ => self.stray(),
        };
        self.say(format!("{step} {what}"));
        self.look(volume, heads[volume])?;
        self.bury(&heads)?;
        self.history.look(&*self.bucket).now_or_never().expect("memory answers at once")
    }

    /// The init container of a pod.
    fn start(&mut self, volume: usize) -> Result<String> {
        // The other pod may be gone for a while, or this one be scheduled beside it.
        if self.pods.iter().any(Option::is_some) && !self.rng.one_in(12) {
            return Ok("nothing".into());
        }
        self.volumes[volume].close_all();
        let network = Network::new(self.bucket.clone(), Rng::new(self.rng.next_u64()), self.trouble);
        let on = &mut self.volumes[volume];
        let started = Pod::start(on, network.clone(), &self.healthy, &self.around);
        let log = network.take_log().join(", ");
        let what = match started? {
            Started::Up(pod) => {
                self.pods[volume] = Some(*pod);
                self.count("starts of a pod");
                format!("pod {volume} starts: {log}")
            }
            Started::Again(why) => format!("pod {volume} cannot start ({why}): {log}"),
        };
        // A restore may have put another state there.
        if let Some(image) = self.volumes[volume].image()? {
            let known = self.oracle.find(image);
            ensure!(
                known.is_some() || disk::is_dead(),
                "P2: the start of a pod left a state nobody committed"
            );
            self.volumes[volume].settled |= known != self.volumes[volume].head;
            self.volumes[volume].head = known.or(self.volumes[volume].head);
        }
        self.volumes[volume].forget_probe();
        Ok(what)
    }

    fn application(&mut self, volume: usize) -> Result<String> {
        // The application starts when its sidecar has started once.
        let what = application::act(&mut self.volumes[volume], &mut self.rng)
            .with_context(|| format!("application on volume {volume}"))?;
        let World { volumes, oracle, .. } = self;
        let new = volumes[volume].note(oracle)?;
        if new {
            self.volumes[volume].settled |= what.ends_with("commits: ok");
            self.count("commits");
        }
        Ok(format!("{volume}: {what}, state {:?}", self.volumes[volume].head))
    }

    fn writer(&mut self, volume: usize) -> Result<String> {
        let rng = Rng::new(self.rng.next_u64());
        let away = Volume::new(volume, self.volumes[volume].root.clone());
        let here = std::mem::replace(&mut self.volumes[volume], away);
        let (database, oracle) = (here.database(), std::mem::take(&mut self.oracle));
        let (pod, around) =
            (self.pods[volume].as_mut().expect("only pods that are up take a step"), &self.around);
        let mut work = || {
            if pod.is_running() {
                pod.pass().context("pass")
            } else {
                pod.run(&database, around).context("start of a sidecar")
            }
        };
        // At rest nobody interferes, and before its first commit SQLite takes several.
        let (what, log) = if here.settled && !self.resting {
            let (what, interloper) = Interloper::beside(here, oracle, rng, work);
            let Interloper { volume: back, oracle, done, failure, .. } = interloper;
            (self.volumes[volume], self.oracle) = (back, oracle);
            failure.map_or(Ok(()), Err).with_context(|| format!("application on volume {volume}"))?;
            (what, done)
        } else {
            let what = work();
            (self.volumes[volume], self.oracle) = (here, oracle);
            (what, Vec::new())
        };
        let requests = self.pods[volume].as_ref().expect("looked at above").network.take_log().join(", ");
        self.count("passes");
        for line in log {
            self.count("acts during a pass");
            self.say(line);
        }
        Ok(format!("writer {volume}: {} {requests}", what?))
    }

    fn deliver(&mut self, volume: usize) -> String {
        let network = self.pods[volume].as_ref().expect("looked at before").network.clone();
        let fate = match self.rng.below(10) {
            0 => Fate::Unheard,
            1 => Fate::Unanswered,
            _ => Fate::Answered,
        };
        network.deliver(fate);
        format!("network {volume}: {}", network.take_log().join(", "))
    }

    /// A PUT of somebody who is dead arrives.
    fn stray(&mut self) -> String {
        if self.strays.is_empty() {
            return "no stray".into();
        }
        let at = self.rng.below(self.strays.len() as u64) as usize;
        let done = self.strays.swap_remove(at).now_or_never();
        assert!(done.is_some(), "a simulated request is answered within one poll");
        self.count("strays");
        "a PUT of a dead process arrives".into()
    }

    fn time(&mut self) -> String {
        let ms = match self.rng.below(10) {
            0 => 20 * 60_000,
            1..=3 => self.rng.below(30_000),
            _ => self.rng.below(900),
        };
        self.around.clock.advance_ms(ms);
        self.date.advance_ms(ms);
        if self.rng.one_in(12) {
            use clock::Clock;
            let jump = self.rng.below(7_200_000) as i64 - 3_600_000;
            self.around.clock.jump_to(self.around.clock.unix_ms() + jump);
            return format!("{ms} ms pass, the wall clock jumps by {jump}");
        }
        format!("{ms} ms pass")
    }

    fn arm(&mut self, volume: usize) -> String {
        // Creating a database takes SQLite more than one commit; only the last of them is in the tree.
        if !self.volumes[volume].settled {
            return "nothing to kill".into();
        }
        let death = if self.rng.one_in(2) { Death::Power } else { Death::Process };
        let calls = self.rng.below(60);
        disk::arm(volume, calls, death, Rng::new(self.rng.next_u64()));
        format!("volume {volume} will see its {death:?} death in {calls} calls")
    }

    /// Volumes are snapshotted, rolled back, cloned and lost.
    fn volume_event(&mut self, volume: usize) -> Result<String> {
        let image = disk::image_of(volume, Death::Power, &mut self.rng);
        match self.rng.below(4) {
            0 | 1 if self.volumes[volume].settled => {
                self.snapshots[volume] = Some(image);
                Ok(format!("volume {volume} is snapshotted"))
            }
            2 if self.snapshots[0].is_some() => {
                let older = self.snapshots[0].clone().expect("looked at");
                self.replace(volume, &older)?;
                let found = self.volumes[volume].image()?;
                self.volumes[volume].head = match found {
                    Some(image) => Some(self.oracle.rebooted(image, None)?),
                    None => None,
                };
                self.volumes[volume].reported = None;
                self.count("volumes rolled back");
                Ok(format!("volume {volume} is as volume 0 was, state {:?}", self.volumes[volume].head))
            }
            _ => {
                self.replace(volume, &Image::new())?;
                (self.volumes[volume].head, self.volumes[volume].reported) = (None, None);
                self.volumes[volume].settled = false;
                self.count("volumes lost");
                Ok(format!("volume {volume} is lost"))
            }
        }
    }

    /// What the pod said in a step that began with the state `before`.
    fn look(&mut self, volume: usize, before: Option<State>) -> Result<()> {
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
                Event::ImageStarted { why, .. } => self.say(format!("  image: {why}")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Restores and finds the state; `None` if there is nothing to restore.
    fn state_of(&mut self, txid: Option<u64>) -> Result<Option<State>> {
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
    fn restore(&mut self) -> Result<String> {
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
        Ok(format!("a restore gives state {restored:?}"))
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
            self.history.look(&*self.bucket).now_or_never().expect("memory answers at once")?;
            self.around.clock.advance_ms(5_000);
            self.date.advance_ms(5_000);
            let restored = self.state_of(None)?;
            let head = self.volumes[volume].head;
            if head.is_some() && restored == head && self.oracle.durable() == head {
                return Ok(());
            }
        }
        anyhow::bail!(
            "P1: state {:?} was committed and is not reported durable in the end (that is {:?})",
            self.volumes[volume].head,
            self.oracle.durable()
        )
    }
}
