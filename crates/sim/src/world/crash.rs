//! Death and what comes after it.

use super::World;
use crate::disk::{self, Death, Died};
use crate::oracle::State;
use anyhow::{Context, Result, ensure};

impl World {
    /// Buries what has died in this step. `heads` are the committed states before it.
    pub(super) fn bury(&mut self, heads: &[Option<State>]) -> Result<()> {
        let Some(Died { volume, death, image, at }) = disk::bury() else { return Ok(()) };
        self.say(format!("  {death:?} death of volume {volume} at {at}"));
        self.count(match death {
            Death::Process => "deaths of a pod",
            Death::Power => "losses of power",
        });
        self.replace(volume, &image)?;
        if let Some(image) = self.volumes[volume].image().context("read the volume after a death")? {
            let must = match death {
                // Either of two states, or neither, if it died in the middle of being restored.
                _ if self.volumes[volume].replaced => None,
                Death::Process => heads[volume],
                Death::Power => self.volumes[volume].reported,
            };
            let state = self.oracle.rebooted(image, must)?;
            self.say(format!("  volume {volume} came back with state {state}"));
            self.volumes[volume].head = Some(state);
        } else {
            let expected = self.volumes[volume].replaced || heads[volume].is_none();
            ensure!(expected, "P2: the database is gone after a death");
            self.volumes[volume].head = None;
        }
        Ok(())
    }

    /// Nobody is on the volume any more, and it holds `image`.
    pub(super) fn replace(&mut self, volume: usize, image: &disk::Image) -> Result<()> {
        self.kill_pod(volume);
        self.volumes[volume].put(image);
        Ok(())
    }

    /// The pod is gone; what it had sent may arrive later.
    pub(super) fn kill_pod(&mut self, volume: usize) {
        if let Some(mut pod) = self.pods[volume].take() {
            pod.kill();
            self.volumes[volume].refused |= pod.refused;
            self.strays.extend(pod.network.take_under_way());
        }
        self.volumes[volume].close_all();
    }
}
