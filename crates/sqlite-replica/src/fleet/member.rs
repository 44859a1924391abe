//! One database of a fleet: its writer, if it has one, and when it may have the next.

use crate::error::{Class, Error};
use crate::fleet::config::Database;
use crate::fleet::glance::{Rest, Stamp};
use crate::write::{Config, Finish, Inbox};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pauses between starts of a writer that failed.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) database: Database,
    /// Where it was written.
    pub(crate) place: String,
    /// It was named, not found.
    pub(crate) named: bool,
    /// How it is written.
    pub(crate) writer: Config,
    /// What is asked of its writer.
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) phase: Phase,
    /// There was a database once.
    pub(crate) seen: bool,
    /// Starts that failed in a row.
    failures: u32,
}

/// Where a member stands with its writer.
#[derive(Debug)]
pub(crate) enum Phase {
    /// A writer may start at this time, monotonic ns; the last one ended with this error.
    Due { at: u64, after: Option<Error> },
    /// It runs since then, until told to stop; `leaving` to make room for another one.
    Running { stop: watch::Sender<bool>, since: u64, leaving: bool },
    /// It left with everything durable, and comes back when anything changes.
    Cold(Rest),
    /// There is no database.
    Away,
    /// It is over; a refusal holds for this file.
    Over { finish: Result<Finish, Error>, file: Option<Stamp> },
}

impl Member {
    pub(crate) fn new(writer: Config, place: &str, named: bool) -> Member {
        let database = Database {
            name: writer.identity.database.clone(),
            path: writer.database.clone(),
            replica: writer.replica.clone(),
        };
        Member {
            database,
            place: place.to_owned(),
            named,
            writer,
            inbox: Arc::default(),
            phase: Phase::Due { at: 0, after: None },
            seen: false,
            failures: 0,
        }
    }

    /// The pause before the next start after this error, or `None` if there is no next one.
    pub(crate) fn pause_after(&mut self, error: &Error, jitter: u64) -> Option<Duration> {
        if error.class() != Class::Retriable || self.writer.once {
            return None;
        }
        let pause = (FIRST_RETRY * 2_u32.saturating_pow(self.failures)).min(LAST_RETRY);
        self.failures = (self.failures + 1).min(16);
        // Up to a quarter more, so that what failed together does not come back together.
        Some(pause + pause / 4 * (jitter % 256) as u32 / 256)
    }

    /// It works: the next failure is a first one again.
    pub(crate) fn recovered(&mut self) {
        self.failures = 0;
    }
}
