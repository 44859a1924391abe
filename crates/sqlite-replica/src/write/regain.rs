//! The state directory was removed under a running writer ("clean up what is not mine"): it is built anew from what is known here.
//!
//! Nothing of it is in the store, so without this the next start could prove nothing and would have to be told to `--adopt`. The record is in
//! memory and the page table still open, so nothing is lost but the spool, which is a cache (decision 0004), and a file that was
//! staged: if the store does not have it, the next start finds it lost and sends a full image.

use crate::error::Result;
use crate::write::engine::Writer;

impl Writer {
    /// Three `stat` per pass. Whoever removes may not be done yet: what fails now is tried again at the next pass.
    pub(crate) fn regain_state(&mut self) -> Result<()> {
        if self.state.is_in_place() && self.table.is_in_place() {
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

    fn put_back(&mut self) -> Result<()> {
        self.state.put_back(self.record.clone())?;
        self.table.put_back()?;
        if let Some(keeping) = &mut self.keeping {
            keeping.upkeep.spool.lost();
        }
        Ok(())
    }
}
