//! The state directory was removed under a running writer ("clean up what is not mine"): it is built anew from what is known here.
//!
//! Nothing of it is in the store, so without this the next start could prove nothing and would have to be told to `--adopt` (P1). The record is in
//! memory and the page table still open, so nothing is lost but the spool, which is a cache (decision 0004), and a file that was
//! staged: if the store does not have it, the next start finds it lost and sends a full image. A pass begins with a look at it, and a writer
//! ends with one: it may be for want of the directory that it ends.

use crate::error::{Error, Result};
use crate::write::engine::Writer;
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

/// How often, and with what pause between, a writer that ends for want of a file looks after its directory: whoever removes it may not be done.
const REMOVING: (u32, Duration) = (10, Duration::from_millis(20));

impl Writer {
    /// Three `stat` per pass. Whoever removes may not be done yet: what fails now is tried again at the next pass.
    pub(crate) fn regain_state(&mut self) -> Result<()> {
        if self.is_in_place() {
            return Ok(());
        }
        let dir = self.state.dir().display().to_string();
        match self.put_back() {
            Ok(()) => tracing::warn!(dir, "the state directory was removed by somebody; it was built anew"),
            Err(error) if error.may_pass() => {
                tracing::debug!(dir, %error, "the state directory cannot be built anew yet");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The writer ends, for this reason if not as it should: what nobody else knows does not go with it.
    pub(crate) fn leave_state(&mut self, reason: Option<&Error>) {
        if self.is_in_place() && !reason.is_some_and(is_missing) {
            return;
        }
        for _ in 0..REMOVING.0 {
            if let Err(error) = self.regain_state() {
                tracing::warn!(%error, "the state directory was removed by somebody, and cannot be built anew");
                return;
            }
            thread::sleep(REMOVING.1);
        }
    }

    fn is_in_place(&self) -> bool {
        self.state.is_in_place() && self.table.is_in_place()
    }

    fn put_back(&mut self) -> Result<()> {
        self.state.put_back(self.record.clone())?;
        self.table.put_back()?;
        if let Some(keeping) = &mut self.keeping {
            keeping.upkeep.spool.lost();
        }
        Ok(())
    }
}

fn is_missing(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } | Error::Tail(sqlite_tail::Error::Io { source, .. }) => {
            source.kind() == ErrorKind::NotFound
        }
        _ => false,
    }
}
