//! What must be true: a tree of all committed states, and how far along it was reported durable.

use anyhow::{Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A committed state.
pub type State = usize;

/// SHA-256 of all pages.
type Image = [u8; 32];

/// The tree, and the newest state that was reported durable.
#[derive(Default)]
pub struct Oracle {
    parents: Vec<Option<State>>,
    by_image: BTreeMap<Image, State>,
    durable: Option<State>,
}

/// The digest of a database file.
pub fn image(bytes: &[u8]) -> Image {
    let mut bytes = bytes.to_vec();
    // The version of SQLite that wrote last and its change counter differ between equal states of two files.
    if bytes.len() >= 100 {
        bytes[24..28].fill(0);
        bytes[92..100].fill(0);
    }
    Sha256::digest(&bytes).into()
}

impl Oracle {
    /// Notes a state that follows `parent`; a state that is known stays what it is.
    pub fn commit(&mut self, parent: Option<State>, image: Image) -> State {
        if let Some(known) = self.by_image.get(&image) {
            return *known;
        }
        self.parents.push(parent);
        self.by_image.insert(image, self.parents.len() - 1);
        self.parents.len() - 1
    }

    /// The state of an image.
    pub fn find(&self, image: Image) -> Option<State> {
        self.by_image.get(&image).copied()
    }

    /// Whether `state` is `of` or came after it.
    pub fn continues(&self, state: State, of: State) -> bool {
        let mut at = Some(state);
        while let Some(state) = at.filter(|state| *state >= of) {
            if state == of {
                return true;
            }
            at = self.parents[state];
        }
        false
    }

    /// The newest state reported durable.
    pub fn durable(&self) -> Option<State> {
        self.durable
    }

    /// A writer reports `state` durable.
    pub fn report(&mut self, state: State) -> Result<()> {
        if let Some(before) = self.durable {
            if self.continues(before, state) {
                return Ok(());
            }
            ensure!(
                self.continues(state, before),
                "P1: state {state} is reported durable and does not contain {before}, which was reported before"
            );
        }
        self.durable = Some(state);
        Ok(())
    }

    /// The newest restore gave this image.
    pub fn restored(&self, image: Image) -> Result<State> {
        let Some(state) = self.find(image) else { bail!("P2: the restored database was never committed") };
        if let Some(durable) = self.durable {
            ensure!(
                self.continues(state, durable),
                "P1: the restore gives state {state}, and {durable} was reported durable"
            );
        }
        Ok(state)
    }

    /// A writer says that nothing committed on its volume is missing in the store.
    pub fn caught_up(&self, head: State) -> Result<()> {
        ensure!(
            self.durable.is_some_and(|durable| self.continues(durable, head)),
            "P1: caught up at state {head}, durable is {:?}",
            self.durable
        );
        Ok(())
    }

    /// The machine of a volume came back with this image; `reported` is what its own writer had reported.
    pub fn rebooted(&self, image: Image, reported: Option<State>) -> Result<State> {
        let Some(state) = self.find(image) else {
            bail!("P2: the volume came back with a state nobody committed")
        };
        if let Some(reported) = reported {
            ensure!(
                self.continues(state, reported),
                "P1: after the loss of power the volume has state {state}, its writer had reported {reported}"
            );
        }
        Ok(state)
    }
}
