//! What is known of every database, for whoever asks.

use crate::error::Class;
use crate::fleet::config::Database;
use crate::write::Event;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a database is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its writer begins: proof, claim, first image.
    Starting,
    /// There is no database file yet.
    Waiting,
    /// It waits for its turn: more databases than may be attached at a time want to be.
    Queued,
    /// Its commits are followed.
    Following,
    /// Everything is durable and nobody is attached; a change brings its writer back.
    Cold,
    /// Its file is gone. The replica stays as it is.
    Gone,
    /// Its writer failed; it is started again after a pause.
    Retrying,
    /// A guard refused it; it stays so until another file is in its place.
    Refused,
    /// Another writer owns the replica, for good.
    Fenced,
    /// Its writer ended and is not started again.
    Ended,
}

/// A database and how it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Name in claims, metrics and commands.
    pub name: String,
    /// The file.
    pub path: std::path::PathBuf,
    /// URL of the replica.
    pub replica: String,
    /// What it is doing.
    pub state: State,
    /// Newest TXID that is durable, 0 if none is known yet.
    pub txid: u64,
    /// Number of the claim, 0 before there is one.
    pub epoch: u32,
    /// True if nothing is known that is not durable.
    pub caught_up: bool,
    /// Why it is not followed, one line.
    pub error: Option<String>,
}

/// All databases, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Vec<Row>>);

#[derive(Debug)]
struct Row {
    status: Status,
    /// When the last commit was heard of, monotonic ns.
    active: u64,
}

impl Board {
    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Status> {
        self.rows().iter().map(|row| row.status.clone()).collect()
    }

    /// Adds a database; its index is its identity in this process.
    pub(crate) fn add(&self, database: &Database) -> usize {
        let Database { name, path, replica } = database.clone();
        let mut rows = self.rows();
        let state = State::Queued;
        let status = Status { name, path, replica, state, txid: 0, epoch: 0, caught_up: false, error: None };
        rows.push(Row { status, active: 0 });
        rows.len() - 1
    }

    /// Whether everything heard of is durable, and when the last commit was heard of.
    pub(crate) fn quiet(&self, index: usize) -> (bool, u64) {
        let row = &self.rows()[index];
        (row.status.caught_up && row.status.state == State::Following, row.active)
    }

    /// Whether its commits were followed.
    pub(crate) fn is_following(&self, index: usize) -> bool {
        self.rows()[index].status.state == State::Following
    }

    /// Sets the state; gives whether it is another one.
    pub(crate) fn set(&self, index: usize, state: State, error: Option<String>) -> bool {
        let row = &mut self.rows()[index].status;
        row.error = error;
        std::mem::replace(&mut row.state, state) != state
    }

    /// Takes what a writer says; gives the state if that makes another one of it.
    pub(crate) fn hear(&self, index: usize, event: &Event, now: u64) -> Option<State> {
        let mut rows = self.rows();
        let Row { status: row, active } = &mut rows[index];
        let state = match event {
            Event::Waiting => State::Waiting,
            Event::Attached { .. } | Event::ImageStarted { .. } => State::Starting,
            Event::Claimed { epoch, txid } => {
                row.epoch = *epoch;
                row.txid = row.txid.max(*txid);
                row.state
            }
            Event::Behind { .. } => {
                *active = now;
                row.caught_up = false;
                row.state
            }
            Event::Durable { txid, .. } => {
                *active = now;
                row.txid = *txid;
                row.state
            }
            Event::CaughtUp => {
                row.caught_up = true;
                State::Following
            }
            Event::UploadFailed { error, .. } => {
                row.error = Some(error.clone());
                return None;
            }
            _ => return None,
        };
        row.error = None;
        (std::mem::replace(&mut row.state, state) != state).then_some(state)
    }
}

impl State {
    /// The state of a database whose writer ended with an error of this class and is not tried again.
    pub(crate) fn after(class: Class) -> State {
        match class {
            Class::Fenced => State::Fenced,
            Class::Refused => State::Refused,
            Class::Retriable | Class::Usage | Class::Damaged => State::Ended,
        }
    }
}
