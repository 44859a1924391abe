//! What others in the process may ask of a running fleet.

use crate::error::{Error, Result};
use crate::fleet::board::{Board, Status};
use crate::write::Synced;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Cheap to clone; stays valid after the fleet has ended.
#[derive(Debug, Clone)]
pub struct FleetHandle {
    pub(super) board: Arc<Board>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

/// What is asked of the fleet.
#[derive(Debug)]
pub(super) enum Command {
    /// Make everything committed before now durable.
    Sync { index: usize, done: oneshot::Sender<Result<Synced>> },
    /// Take a full image soon.
    Snapshot { index: usize, done: oneshot::Sender<Result<Synced>> },
}

impl FleetHandle {
    /// Every database and how it stands.
    pub fn databases(&self) -> Vec<Status> {
        self.board.all()
    }

    /// Makes everything durable that was committed before the call (P1), and waits for it: of the database of that name or
    /// path, or of all. One result per database, none if there is no such database; [`Error::Stopped`] where there is no
    /// writer, or it ended before.
    pub async fn sync(&self, name: Option<&str>) -> Vec<(Status, Result<Synced>)> {
        self.ask(name, |index, done| Command::Sync { index, done }).await
    }

    /// Asks for a full image of the database of that name or path, or of all; waits until the writer has understood, not until
    /// the image is stored. Results as of [`Self::sync`].
    pub async fn snapshot(&self, name: Option<&str>) -> Vec<(Status, Result<Synced>)> {
        self.ask(name, |index, done| Command::Snapshot { index, done }).await
    }

    async fn ask(
        &self,
        name: Option<&str>,
        command: impl Fn(usize, oneshot::Sender<Result<Synced>>) -> Command,
    ) -> Vec<(Status, Result<Synced>)> {
        let mut asked = Vec::new();
        for (index, status) in self.board.all().into_iter().enumerate() {
            if name.is_none_or(|name| status.name == name || status.path.as_os_str() == name) {
                let (done, answer) = oneshot::channel();
                // A fleet that has ended drops the question, and with it the answer.
                let _ = self.commands.send(command(index, done));
                asked.push((status, answer));
            }
        }
        let mut results = Vec::with_capacity(asked.len());
        for (status, answer) in asked {
            results.push((status, answer.await.unwrap_or(Err(Error::Stopped))));
        }
        results
    }
}
