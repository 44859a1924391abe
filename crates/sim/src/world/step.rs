//! One step: what happens next.

use super::World;
use crate::application;
use crate::disk::{self, Death, Image};
use crate::frugal;
use crate::interloper::Interloper;
use crate::network::{Fate, Network};
use crate::oracle::State;
use crate::pod::{Pod, Started};
use crate::volume::Volume;
use anyhow::{Context, Result, ensure};
use futures::future::FutureExt;
use testkit::rng::Rng;

impl World {
    pub(super) fn step(&mut self, step: u64) -> Result<()> {
        let heads: Vec<Option<State>> = self.volumes.iter().map(|v| v.head).collect();
        self.volumes.iter_mut().for_each(|v| v.replaced = false);
        let volume = if self.rng.one_in(4) { 1 } else { 0 };
        let what = match self.dice() {
            _ if self.pods[volume].is_none() => self.start(volume)?,
            0..=39 => self.application(volume)?,
            40..=71 => self.writer(volume)?,
            72..=81 => self.deliver(volume)?,
            82..=88 => self.time(),
            89..=91 => self.restore()?,
            92..=94 => self.arm(volume),
            95 => self.sidecar_dies(volume)?,
            96 => self.volume_event(volume)?,
            97 if self.pods[volume].as_ref().is_some_and(|p| p.fenced || p.refused) || self.rng.one_in(3) => {
                self.kill_pod(volume);
                format!("pod {volume} is deleted")
            }
            98 => {
                self.calm = self.rng.range(20, 60);
                "hours without trouble begin".into()
            }
            _ => self.stray(),
        };
        self.say(format!("{step} {what}"));
        self.look(volume, heads[volume])?;
        self.bury(&heads)?;
        self.levels()?;
        let key = &self.around.key;
        self.history.look(&*self.bucket, key).now_or_never().expect("memory answers at once")
    }

    /// What happens next, of a hundred. While it is calm nobody dies and the writer gets most of the time: upkeep needs some.
    fn dice(&mut self) -> u64 {
        match self.calm.checked_sub(1) {
            None => self.rng.below(100),
            Some(left) => {
                self.calm = left;
                *self.rng.pick(&[0, 40, 40, 40, 40, 72, 72, 72, 82, 89])
            }
        }
    }

    /// The init container of a pod.
    pub(super) fn start(&mut self, volume: usize) -> Result<String> {
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

    pub(super) fn application(&mut self, volume: usize) -> Result<String> {
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

    pub(super) fn writer(&mut self, volume: usize) -> Result<String> {
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
        let requests = self.pods[volume].as_mut().expect("looked at above").take_requests()?;
        self.count("passes");
        for line in log {
            self.count("acts during a pass");
            self.say(line);
        }
        Ok(format!("writer {volume}: {} {requests}", what?))
    }

    /// The sidecar alone dies; while it is away the application may be one of another kind.
    fn sidecar_dies(&mut self, volume: usize) -> Result<String> {
        self.count("deaths of a sidecar");
        let pod = self.pods[volume].as_mut().expect("looked at above");
        pod.kill();
        self.strays.extend(pod.network.take_under_way());
        if !self.volumes[volume].settled || !self.rng.one_in(3) {
            return Ok(format!("sidecar {volume} is killed"));
        }
        disk::disarm();
        let World { volumes, oracle, .. } = self;
        let pages = frugal::grow(&mut volumes[volume], oracle)
            .with_context(|| format!("a frugal application on volume {volume}"))?;
        self.count("growths without frames");
        let head = self.volumes[volume].head;
        Ok(format!("sidecar {volume} is killed, {pages} pages grow without a frame, state {head:?}"))
    }

    fn deliver(&mut self, volume: usize) -> Result<String> {
        let fate = match self.rng.below(10) {
            0 => Fate::Unheard,
            1 => Fate::Unanswered,
            _ => Fate::Answered,
        };
        let pod = self.pods[volume].as_mut().expect("looked at before");
        pod.network.deliver(fate);
        Ok(format!("network {volume}: {}", pod.take_requests()?))
    }

    /// A PUT of somebody who is dead arrives.
    pub(super) fn stray(&mut self) -> String {
        if self.strays.is_empty() {
            return "no stray".into();
        }
        let at = self.rng.below(self.strays.len() as u64) as usize;
        let done = self.strays.swap_remove(at).now_or_never();
        assert!(done.is_some(), "a simulated request is answered within one poll");
        self.count("strays");
        // A dead sidecar had the connection of the pod that lives on.
        let requests: Vec<String> =
            self.pods.iter().flatten().flat_map(|pod| pod.network.take_log()).collect();
        format!("a PUT of a dead process arrives: {}", requests.join(", "))
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
}
