//! How healthy local data stands to a replica that has a history: by lineage, TXID and content, never by file times.

use crate::catalogue::Catalogue;
use crate::claim::look_at;
use crate::error::Result;
use crate::identity::Lineage;
use crate::origin::Origin;
use crate::restore::head::read_header;
use crate::restore::init::decide::Tie;
use crate::restore::init::{Task, local};
use crate::restore::object::blocking;
use crate::state::Record;
use crate::table::PageTable;
use crate::upkeep::CLAIM_SIZE;
use crate::write::tabulate;
use clock::SystemClock;
use ltx::{Extension, Header};
use sqlite_tail::{Options, Tail};
use std::path::Path;
use std::sync::Arc;

/// Whether the note of a restore by hand holds: the file is the one that was restored, and nobody has written to the replica since
/// (decision 0007). It comes before what the volume remembers, which is older.
pub(super) async fn is_restored(task: &Task, state_dir: &Path, catalogue: &Catalogue) -> Result<bool> {
    if Origin::load(state_dir).is_none() {
        return Ok(false);
    }
    let seen = look_at(&task.store, catalogue.clone(), None, None).await?;
    let (database, state_dir) = (task.database.clone(), state_dir.to_owned());
    blocking(move || Origin::holds(&database, &state_dir, &seen.remote)).await
}

/// Finds it; reads the newest header, and all of the database only where nothing else can tell.
pub(super) async fn find(
    task: &Task,
    record: Option<&Record>,
    catalogue: &Catalogue,
    lineage: Option<&Lineage>,
) -> Result<Tie> {
    let newest = catalogue.newest().expect("a history has files");
    let entry = catalogue.entries.iter().filter(|e| e.name.max == newest).min_by_key(|e| e.level);
    let header = read_header(&task.store, entry.expect("the newest file is listed")).await?;
    let stamp = Extension::from_reserved(&header.reserved);
    let lineage = lineage.map(Lineage::id).transpose()?;
    let Some(record) = record.filter(|r| r.lineage != 0 && r.confirmed > 0) else {
        let database = task.database.clone();
        let same = stamp.is_some() && blocking(move || is_state_of(&database, &header)).await?;
        return Ok(if same { Tie::Continues } else { Tie::Unknown });
    };
    if lineage != Some(record.lineage) {
        return Ok(Tie::Stranger);
    }
    let (n, known) = (newest.get(), record.confirmed);
    let intended = record.intent.as_ref().is_some_and(|i| {
        i.txid == n && stamp.is_some_and(|s| s.lineage == record.lineage && s.write_id == i.write_id)
    });
    // Nothing but claims: what a claim of a sealed replica says of its state is only that.
    let only_claims = || {
        let beyond = catalogue.entries.iter().filter(|e| e.name.max.get() > known);
        beyond.clone().count() as u64 == n - known.min(n) && beyond.clone().all(|e| e.size == CLAIM_SIZE)
    };
    let same_state = record.intent.is_none()
        && record.mark.is_some_and(|m| match header.node_id {
            0 => m.commit == header.commit && only_claims(),
            rolling => (m.rolling, m.commit) == (rolling, header.commit),
        });
    // A foreign writer's file: the sidecar begins a new image over it, and everything of both stays restorable.
    if stamp.is_some() && n > known && !intended {
        // Claims change nothing: another pod that came and went without writing is not "behind".
        return Ok(if same_state { Tie::Continues } else { Tie::Behind });
    }
    match record.mark {
        Some(mark) if local::lost_frames(&task.database, &mark)? => Ok(Tie::LostLast),
        _ => Ok(Tie::Continues),
    }
}

/// Whether the database is, bit for bit, the state this header ends: size and rolling checksum, read through SQLite's snapshot.
fn is_state_of(database: &Path, header: &Header) -> Result<bool> {
    if header.node_id == 0 {
        return Ok(false);
    }
    // Not a WAL database, or not ours to attach to: then nothing is known, which is no error.
    let Ok(mut tail) = Tail::attach(database, Options::default(), Arc::new(SystemClock)) else {
        return Ok(false);
    };
    if tail.page_size() != header.page_size.get() {
        return Ok(false);
    }
    let scratch = tempfile::NamedTempFile::new_in(crate::restore::target::parent(database))
        .map_err(crate::error::Error::io(database, "compare pages beside"))?;
    let mut table = PageTable::open(scratch.path())?;
    let mut view = tail.view()?;
    Ok(view.commit() == header.commit
        && tabulate(&mut view, &mut table, header.page_size.lock_page())?.value() == header.node_id)
}
