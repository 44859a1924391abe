//! Finishing what was under way when the volume was left: before a claim, since the claim takes the TXID behind it.

use crate::claim::take::put;
use crate::error::Result;
use crate::state::{Record, StateDir};
use crate::table::PageTable;
use crate::upkeep::kept_sync;
use crate::write::stage;
use ltx::Txid;
use store::Store;

/// What became of the object that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// There was none, or it is in the store and the page table has it.
    Yes,
    /// The staged file is not what was recorded: only a full image can go on.
    Lost,
}

/// Brings the page table up to the intent, sends it again if the store does not have it, and confirms it.
pub(crate) async fn settle(
    store: &Store,
    state: &StateDir,
    record: &mut Record,
    table: &mut PageTable,
    resend: bool,
) -> Result<Settled> {
    let Some(intent) = record.intent.clone() else { return Ok(Settled::Yes) };
    if let Some(staged) = &intent.staged {
        let txid = Txid::new(intent.txid).expect("intents have a TXID");
        // A confirmed file moves to the spool before its confirmation is on the disk.
        let mut at = state.staged();
        let mut body = stage::reread(&at, staged)?;
        if body.is_none() {
            at = kept_sync(state.dir(), txid);
            body = stage::reread(&at, staged)?;
        }
        let Some(body) = body else { return Ok(Settled::Lost) };
        stage::apply(&at, table)?;
        if resend {
            let timestamp_ms = record.mark.expect("a plan to resume has a mark").timestamp_ms;
            put(store, txid, body, timestamp_ms, intent.write_id).await?;
        }
    }
    record.confirmed = intent.txid;
    record.intent = None;
    Ok(Settled::Yes)
}
