//! A view that stands on its own: another thread reads it while the tail goes on copying.
//!
//! As a [`View`](crate::View), with a connection of its own and a share in the tail's descriptors. While it lives the WAL
//! cannot be restarted beyond its state and grows with what the application writes: whoever holds one bounds that growth and
//! gives the image up rather than the volume (trap 16).

use crate::connection::Quiet;
use crate::files::Files;
use crate::tail::{Copied, Tail};
use crate::view::Still;
use crate::{Error, Position, Sink};
use std::fmt;
use std::io;
use std::sync::Arc;

/// A frozen database that may travel to another thread. Fields drop in this order: the connection before descriptors (trap 7).
pub struct Frozen {
    reader: Quiet,
    still: Still,
    files: Arc<Files>,
}

impl Tail {
    /// Freezes the newest committed state for another thread. Costs a connection, for as long as it lives.
    pub fn freeze(&mut self) -> Result<Frozen, Error> {
        let reader = self.another_reader()?;
        let index = self.begin_exactly(Some(&reader))?;
        let still = self.still_at(index)?;
        Ok(Frozen { reader, still, files: Arc::clone(&self.files) })
    }

    /// Copies exactly up to the state of `frozen`, so that a file ends where the image of it does. `None` if copying stands beyond
    /// it already, or nothing pins the WAL: freeze again after the next copy.
    pub fn copy_up_to(&mut self, frozen: &Frozen, sink: &mut dyn Sink) -> Result<Option<Copied>, Error> {
        let (at, to) = (self.position, frozen.still.position);
        let here = at.is_some_and(|at| at.salts() == to.salts() && at.frame == to.frame);
        let beyond = at.is_none_or(|at| at.salts() == to.salts() && at.frame > to.frame);
        if beyond || (!here && !self.is_pinned()) {
            return Ok(None);
        }
        self.copy_to(&frozen.still.index, u32::MAX, sink).map(Some)
    }
}

impl Frozen {
    /// Size of the database in pages.
    pub fn commit(&self) -> u32 {
        self.still.position.commit
    }

    /// The end of this state in the WAL.
    pub fn position(&self) -> Position {
        self.still.position
    }

    /// All pages in ascending order, read 256 KiB at a time. May be called again: the state stands still.
    pub fn for_each_page(&mut self, visit: impl FnMut(u32, &[u8]) -> io::Result<()>) -> Result<(), Error> {
        self.still.for_each_page(&self.files, visit)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = self.reader.end() {
            tracing::warn!(%error, "the transaction of a frozen view would not end");
        }
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("position", &self.still.position).finish_non_exhaustive()
    }
}
