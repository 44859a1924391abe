//! Carries out a restore plan: newest object first, parts of large objects in parallel, every byte proven.
//!
//! Every planned object is read whole and its checksum verified (trap 5); a page is written only if no newer object wrote it, so
//! each byte of the output is written once. Objects are fetched [`Ahead`] of their turn.
//! Where the newest object carries our rolling checksum, the whole result is compared with it (P2).

use crate::catalogue::Entry;
use crate::error::{Error, Result};
use crate::origin::{Content, Descent};
use crate::restore::ahead::Ahead;
use crate::restore::budget::Budget;
use crate::restore::integrity::{self, Integrity};
use crate::restore::object::{Fetch, Pages, blocking};
use crate::restore::plan::RestorePlan;
use crate::restore::proof::Proof;
use crate::restore::run::Run;
use crate::restore::target::{Target, parent};
use crate::state::StateDir;
use ltx::{Extension, Header};
use seal::Identities;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Progress, Store};
use tokio::sync::Semaphore;

/// How to restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Check of the finished file by SQLite.
    pub integrity: Integrity,
    /// Requests in flight; the [`Budget`] bounds those of all restores.
    pub parallelism: usize,
    /// Memory; shared by restores that run side by side.
    pub budget: Budget,
    /// What opens sealed objects; `None` where nobody has a key.
    pub identities: Option<Arc<Identities>>,
    /// The file will be a live database: a note beside it says what it descends from, so that its writer may go on from it.
    pub descent: Option<Descent>,
    /// The file will be a pod's, whose record is here: what it remembers of every page is written on the way.
    pub table: Option<PathBuf>,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        RestoreOptions {
            integrity: Integrity::Quick,
            parallelism: 64,
            budget: Budget::default(),
            identities: None,
            descent: None,
            table: None,
        }
    }
}

impl RestoreOptions {
    pub(crate) fn fetch(&self, store: &Store, progress: Arc<Progress>) -> Fetch {
        Fetch {
            store: store.clone(),
            budget: self.budget.clone(),
            parallelism: self.parallelism,
            streams: Arc::new(Semaphore::new(self.parallelism)),
            turn: Arc::default(),
            progress,
            identities: self.identities.clone(),
        }
    }
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// TXID of the state.
    pub txid: String,
    /// When that state was committed, RFC 3339.
    pub timestamp: String,
    /// Bytes of the database.
    pub bytes: u64,
    /// Bytes fetched.
    pub fetched: u64,
    /// Files applied.
    pub files: usize,
    /// True if the whole database was compared with the rolling checksum its writer recorded.
    pub proven: bool,
    /// The rolling checksum of the database.
    #[serde(skip)]
    pub rolling: u64,
}

/// Restores `plan` to `output`, which gets its name only when everything is proven and durable.
pub async fn restore(
    store: &Store,
    plan: &RestorePlan,
    output: &Path,
    options: &RestoreOptions,
    progress: Arc<Progress>,
) -> Result<Restored> {
    let newest = plan.newest();
    let fetch = options.fetch(store, progress.clone());
    let ahead = Ahead::begin(&fetch, plan);
    let header = fetch.header(plan).await?;
    let target = match Target::create(output, header.page_size.bytes(), header.commit) {
        Ok(target) => target,
        Err(full) => {
            drop(ahead);
            believe(&fetch, newest, output).await?;
            return Err(full);
        }
    };
    let target = Arc::new(match &options.table {
        Some(table) => target.remember(table)?,
        None => target,
    });
    let assembled = assemble(ahead, &header, &target).await;
    let proven = assembled
        .and_then(|()| conclude(&header, target.proof(), newest))
        .inspect_err(|_| target.abandon())?;
    // SQLite looks while the disk writes; both have ended, well or not, before anything else is done with the file.
    let (checked, synced, integrity) = (target.clone(), target.clone(), options.integrity);
    let (checked, synced) = tokio::join!(
        blocking(move || integrity::check(checked.temp(), integrity)),
        blocking(move || synced.sync()),
    );
    checked.and(synced)?;
    let rolling = target.proof().rolling();
    let target = Arc::try_unwrap(target).expect("all tasks that held the target have ended");
    let note = options.descent.map(|descent| {
        let content = Content {
            txid: newest.name.max.get(),
            timestamp_ms: header.timestamp_ms,
            page_size: header.page_size.get(),
            pages: header.commit,
            rolling,
            sample: target.proof().sample(),
        };
        (descent, content, output.to_owned())
    });
    blocking(move || {
        if let Some((descent, content, database)) = note {
            let left = descent.leave(content, target.file(), &database, &StateDir::path_for(&database));
            if let Err(error) = left {
                // The file is as good without; its writer may ask for `--adopt`.
                tracing::info!(%error, "no note is left beside the database of what it descends from");
            }
        }
        target.finish()
    })
    .await?;
    Ok(Restored {
        txid: newest.name.max.to_string(),
        timestamp: clock::format_unix_ms(header.timestamp_ms),
        bytes: u64::from(header.commit) * header.page_size.bytes() as u64,
        fetched: progress.fetched(),
        files: plan.files.len(),
        proven,
        rolling,
    })
}

/// Hands the pages of all objects to `pages`, newest object first; one object after the other, fetched ahead.
pub(crate) async fn assemble<P: Pages>(mut ahead: Ahead, newest: &Header, pages: &Arc<P>) -> Result<()> {
    loop {
        let objects = ahead.next().await?;
        if objects.is_empty() {
            return Ok(());
        }
        ahead.fetch().pages(objects, Some(newest.page_size), pages).await?;
    }
}

/// What the pages that were gathered are: complete, and where we wrote a rolling checksum, exactly what it says (P2).
pub(crate) fn conclude(header: &Header, proof: &Proof, newest: &Entry) -> Result<bool> {
    let holes = proof.missing(header.page_size.lock_page());
    if holes > 0 {
        return Err(Error::Damaged {
            what: format!("{holes} pages of the database are in no file up to TXID {}", newest.name.max),
            hint: "choose an older point with --txid (`restore list`)".into(),
        });
    }
    if Extension::from_reserved(&header.reserved).is_none() || header.node_id == 0 {
        return Ok(false);
    }
    if header.node_id == proof.rolling() {
        return Ok(true);
    }
    Err(Error::Damaged {
        what: format!(
            "the database put together for TXID {} has rolling checksum {:016x}, its writer recorded {:016x}",
            newest.name.max,
            proof.rolling(),
            header.node_id
        ),
        hint: "a file of the chain was replaced by another intact one; `restore verify` names it".into(),
    })
}

/// Before a size in a header, which alone carries no checksum, is taken for the reason of a failure: damage is not a full disk.
async fn believe(fetch: &Fetch, file: &Entry, output: &Path) -> Result<()> {
    let opened = fetch.open(file.clone()).await?;
    fetch.pages(vec![opened], None, &Arc::new(Discard(parent(output).to_owned()))).await
}

/// Takes pages nowhere: only their checksums matter.
pub(crate) struct Discard(pub(crate) PathBuf);

impl Pages for Discard {
    fn offer(&self, _: &mut Run, _: u32, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn scratch(&self) -> PathBuf {
        self.0.clone()
    }
}
