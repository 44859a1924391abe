//! A counter of steps: the place where a test pulls the plug.
//!
//! Every executor calls [`Steps::at`] between two effects. In production the counter never says no. A test that gives it a limit
//! stops the executor before step *k* with [`Error::Stopped`], for every *k*, and looks at what a restart makes of it.

use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts steps; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    taken: Arc<AtomicU64>,
    limit: Option<u64>,
}

impl Steps {
    /// Stops before the step after `limit` steps.
    pub fn stop_after(limit: u64) -> Self {
        Self { taken: Arc::default(), limit: Some(limit) }
    }

    /// How many steps were taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn at(&self, step: &'static str) -> Result<()> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        match self.limit {
            Some(limit) if before >= limit => Err(Error::Stopped(step)),
            _ => Ok(()),
        }
    }
}
