//! A writer that comes back in the same process, after it left to make room for others.
//!
//! Nothing is asked of the store: the record on the volume is, bit for bit, the one this process left there, so nobody else wrote
//! here since, and the claim is still the same. Whoever took the replica over from elsewhere holds the next TXID and is met
//! there, as by a writer that was merely quiet (P4).

use crate::error::Result;
use crate::state::Record;
use crate::write::engine::Writer;

impl Writer {
    /// Goes on, if this process left the record; `false` if it did not.
    pub(crate) fn again(&mut self, record: Option<&Record>) -> Result<bool> {
        let Some(parted) = self.inbox.parted() else { return Ok(false) };
        let whole = parted.intent.is_none() && parted.mark.is_some() && parted.fenced.is_none();
        if record != Some(&parted) || !whole {
            return Ok(false);
        }
        self.inherited = parted.inherited;
        self.keeping = self.inbox.keeping();
        self.go_on(false).map(|()| true)
    }
}
