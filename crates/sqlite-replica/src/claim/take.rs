//! Taking the next TXID with a file of zero pages, staged and recorded before it is sent, as every file is (P1, P4).

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::identity::{Identity, Lineage};
use crate::layout::Layout;
use crate::state::{Intent, Mark, Record, StateDir};
use crate::table::PageTable;
use crate::write::stage::{self, Next};
use crate::write::{Body, Form, options};
use clock::{Clock, IdGen};
use ltx::{Extension, Txid};
use sqlite_tail::Position;
use store::Store;

/// What it takes to claim.
#[derive(Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub(crate) store: &'a Store,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) ids: &'a dyn IdGen,
    pub(crate) form: &'a Form,
}

/// A stamp with a new write id.
pub(crate) fn new_stamp(record: &Record, ids: &dyn IdGen) -> Extension {
    let random = ids.next_u64().to_be_bytes();
    let mut write_id = [0; 6];
    write_id.copy_from_slice(&random[..6]);
    Extension { epoch: record.epoch, lineage: record.lineage, write_id }
}

/// Creates the lineage of a new replica: the claim of one that holds no file.
pub(crate) async fn first(
    with: Claims<'_>,
    state: &mut StateDir,
    record: &Record,
    identity: &Identity,
) -> Result<()> {
    // Remembered before it is created, so that a crash in between leaves a claim this volume can finish.
    state.save(record.clone(), true)?;
    let created = clock::format_unix_ms(with.clock.unix_ms());
    Lineage::new(record.lineage, identity, created, with.form.is_sealed()).create(with.store).await
}

/// The state of the replica that a claim stands on.
#[derive(Clone, Copy)]
pub(crate) struct Ground {
    pub(crate) mark: Mark,
    /// The page table has exactly these pages, so the mark may be recorded. Else a crash between this claim and what
    /// follows it must find no mark: the database would be taken for a state that it is not.
    pub(crate) tabulated: bool,
}

/// Claims the TXID after `record.confirmed` under `record.epoch`.
pub(crate) async fn take(
    with: Claims<'_>,
    state: &mut StateDir,
    record: &mut Record,
    ground: Ground,
) -> Result<()> {
    let before = ground.mark;
    let position: Position = before.position();
    let txid = Txid::new(record.confirmed + 1).expect("confirmed + 1 is not zero");
    let stamp = new_stamp(record, with.ids);
    let timestamp_ms = with.clock.unix_ms().max(before.timestamp_ms + 1);
    let next = Next { txid, stamp, timestamp_ms, to: position };
    let path = state.staged();
    let (batch, table) = (Batch::new(state.dir(), before.page_size), PageTable::open(&state.table())?);
    // No page changes, so none is asked for: the size stays what it was.
    let (plain, mark) = stage::stage(&path, &batch, &table, &before, &next, |_, page| {
        page.fill(0);
        Ok(())
    })?;
    let staged = with.form.claim(&plain, &state.object())?;
    record.intent = Some(Intent { txid: txid.get(), write_id: stamp.write_id, staged: Some(staged.clone()) });
    record.mark = ground.tabulated.then_some(mark);
    state.save(record.clone(), true)?;
    let path = state.sent(&staged);
    let body = with.form.reread(&path, &staged)?.ok_or_else(|| Error::Io {
        path,
        doing: "read back the staged file",
        source: std::io::Error::other("it is not what was written"),
    })?;
    put(with.store, txid, body, timestamp_ms, stamp.write_id).await?;
    record.confirmed = txid.get();
    record.intent = None;
    state.save(record.clone(), true)
}

/// Sends a staged file and waits for the answer.
pub(crate) async fn put(
    store: &Store,
    txid: Txid,
    body: Body,
    timestamp_ms: i64,
    write_id: [u8; 6],
) -> Result<()> {
    let key = Layout::of(store.kind()).sync_key(txid);
    let options = options(timestamp_ms, write_id);
    body.commit(store, &key, &options).await.map(drop)
}
