//! Which object of a chain is of another history: the chain, oldest first, against the rolling checksum in every header.
//!
//! All objects of a chain can be intact and not belong together: one restored from another bucket, one written by somebody else
//! under the same TXID. The end state then differs from what its writer recorded, and only going forward says where it begins to. The
//! checksums of all pages stand in an unlinked file of 8 bytes per page meanwhile (P7).

use crate::error::{Error, Result};
use crate::identity::Lineage;
use crate::restore::head::read_header;
use crate::restore::object::{Fetch, Pages, damaged};
use crate::restore::plan::RestorePlan;
use crate::restore::run::Run;
use crate::table::PageTable;
use ltx::checksum::{Rolling, page_checksum};
use ltx::{Extension, Txid};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

struct State {
    table: PageTable,
    rolling: Rolling,
}

struct Replay {
    dir: PathBuf,
    state: Mutex<State>,
}

impl Pages for Replay {
    fn offer(&self, _: &mut Run, pgno: u32, page: &[u8]) -> io::Result<()> {
        let sum = page_checksum(pgno, page);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.table.get(pgno).map_err(io::Error::other)?;
        state.rolling.replace(before, Some(sum));
        state.table.set(pgno, sum).map_err(io::Error::other)
    }

    fn scratch(&self) -> PathBuf {
        self.dir.clone()
    }
}

/// The first object whose result is not what its header says; `None` if no header says enough.
pub(crate) async fn first_wrong(fetch: &Fetch, plan: &RestorePlan, dir: &Path) -> Result<Option<Error>> {
    let table = tempfile::NamedTempFile::new_in(dir).map_err(Error::io(dir, "replay the chain in"))?;
    let table = PageTable::open(table.path())?;
    let state = Mutex::new(State { table, rolling: Rolling::empty() });
    let replay = Arc::new(Replay { dir: dir.to_owned(), state });
    // Whose history this is, the side object says; without one, the newest object. Neither is asked where content agrees.
    let recorded = Lineage::load(&fetch.store).await.ok().flatten().and_then(|lineage| lineage.id().ok());
    let newest = || async { read_header(&fetch.store, plan.newest()).await };
    let lineage = match recorded {
        Some(id) => Some(id),
        None => newest().await.ok().and_then(|h| Extension::from_reserved(&h.reserved)).map(|s| s.lineage),
    };
    let (mut page_size, mut last): (_, Option<Txid>) = (None, None);
    for entry in &plan.files {
        let header = fetch.header_of(entry).await?;
        let stamp = Extension::from_reserved(&header.reserved);
        if let (Some(ours), Some(stamp)) = (lineage, stamp)
            && ours != stamp.lineage
        {
            let what = format!("it is of another history ({:016x} in a chain of {ours:016x})", stamp.lineage);
            return Ok(Some(damaged(entry, what)));
        }
        let opened = fetch.open(entry.clone()).await?;
        if let Err(error) = fetch.pages(vec![opened], page_size, &replay).await {
            return if error.object().is_some() { Ok(Some(error)) } else { Err(error) };
        }
        page_size = Some(header.page_size);
        let rolling = {
            let mut state = replay.state.lock().unwrap_or_else(PoisonError::into_inner);
            let State { table, rolling } = &mut *state;
            for gone in table.tail(header.commit)? {
                rolling.replace(Some(gone), None);
            }
            table.truncate(header.commit)?;
            rolling.value()
        };
        if stamp.is_some() && header.node_id != 0 && header.node_id != rolling {
            let after = last.map_or("as the first object".into(), |txid| format!("after TXID {txid}"));
            let what = format!("its content does not belong into this chain {after}");
            return Ok(Some(damaged(entry, what)));
        }
        last = Some(entry.name.max);
    }
    Ok(None)
}
