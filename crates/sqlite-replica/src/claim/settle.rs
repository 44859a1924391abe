//! Finishing what was under way when the volume was left: before a claim, since the claim takes the TXID behind it.

use crate::claim::take::put;
use crate::error::Result;
use crate::local::local_header;
use crate::state::{Intent, Record, StateDir};
use crate::table::PageTable;
use crate::upkeep::kept_sync;
use crate::write::{Form, stage};
use ltx::{Extension, Txid};
use std::path::Path;
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
    form: &Form,
) -> Result<Settled> {
    let Some(intent) = record.intent.clone() else { return Ok(Settled::Yes) };
    if let Some(staged) = &intent.staged {
        let txid = Txid::new(intent.txid).expect("intents have a TXID");
        // A confirmed file moves to the spool before its confirmation is on the disk.
        let kept = kept_sync(state.dir(), txid, staged);
        let found = match staged.apart {
            true => form
                .reread(&state.object(), staged)?
                .zip([state.staged(), kept].into_iter().find(|at| is_of(at, &intent))),
            false => match form.reread(&state.staged(), staged)? {
                Some(body) => Some((body, state.staged())),
                None => form.reread(&kept, staged)?.map(|body| (body, kept)),
            },
        };
        let Some((body, at)) = found else { return Ok(Settled::Lost) };
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

/// Whether a file in plain text is what the object of this intent was made of: it has its write id, and is whole.
fn is_of(path: &Path, intent: &Intent) -> bool {
    let stamp = local_header(path).ok().and_then(|header| Extension::from_reserved(&header.reserved));
    stamp.is_some_and(|stamp| stamp.write_id == intent.write_id) && stage::prove(path).is_ok()
}
