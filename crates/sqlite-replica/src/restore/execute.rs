//! Carries out a restore plan: newest file first, parts of large files in parallel, every byte proven.
//!
//! Every planned file is read whole and its checksum verified (trap 5); a page is written only if no newer file wrote it, so each
//! byte of the output is written once. Small files are fetched ahead, large ones by ranges along their page index and decoded
//! on all cores. Memory is bounded by the number of parts in flight (P7). Where the newest file carries our rolling checksum, the
//! whole result is compared with it (P2).

use crate::catalogue::Entry;
use crate::error::{Error, Result};
use crate::restore::integrity::{self, Integrity};
use crate::restore::large;
use crate::restore::plan::RestorePlan;
use crate::restore::target::Target;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use ltx::{Decoder, Extension, HEADER_SIZE, Header};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::Store;

/// Files up to this size are fetched whole.
const SMALL: u64 = 4 << 20;

/// How to restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Check of the finished file by SQLite.
    pub integrity: Integrity,
    /// Requests in flight.
    pub parallelism: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        RestoreOptions { integrity: Integrity::Quick, parallelism: 8 }
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
}

/// Bytes fetched so far, for progress bars.
#[derive(Debug, Default)]
pub struct Progress {
    fetched: AtomicU64,
}

impl Progress {
    /// Bytes fetched so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }
    pub(crate) fn add(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Restores `plan` to `output`, which gets its name only when everything is proven and durable.
pub async fn restore(
    store: &Store,
    plan: &RestorePlan,
    output: &Path,
    options: &RestoreOptions,
    progress: Arc<Progress>,
) -> Result<Restored> {
    let newest = plan.files.last().expect("a plan has at least one file");
    let header = read_header(store, newest).await?;
    let lock_page = header.page_size.lock_page();
    let target = match Target::create(output, header.page_size.bytes(), header.commit) {
        Ok(target) => Arc::new(target),
        Err(full) => {
            believe(store, newest).await?;
            return Err(full);
        }
    };

    // Newest first; small files are fetched ahead of their turn, large ones run alone with all connections.
    let mut files: Vec<&Entry> = plan.files.iter().collect();
    while let Some(file) = files.last() {
        if file.size > SMALL {
            large::apply(store, file, &header, &target, options.parallelism, &progress).await?;
            files.pop();
            continue;
        }
        let small = files.iter().rposition(|f| f.size > SMALL).map_or(0, |p| p + 1);
        let run = files.split_off(small);
        let fetches = run.into_iter().rev().map(|file| {
            let progress = progress.clone();
            async move {
                let bytes = store.get_bytes(&file.key, None).await.map_err(|e| missing(e, file))?;
                progress.add(bytes.len() as u64);
                Ok::<_, Error>((file, bytes))
            }
        });
        let mut fetched = futures::stream::iter(fetches).buffered(options.parallelism);
        while let Some((file, bytes)) = fetched.try_next().await? {
            let (target, file, header) = (target.clone(), file.clone(), header);
            blocking(move || apply_small(&file, &bytes, &header, &target)).await?;
        }
    }

    let holes = target.missing(lock_page);
    if holes > 0 {
        return Err(Error::Damaged {
            what: format!("{holes} pages of the database are in no file up to TXID {}", newest.name.max),
            hint: "choose an older point with --txid (`restore list`)".into(),
        });
    }
    let proven = prove(&header, &target, newest)?;
    let target = Arc::try_unwrap(target).expect("all tasks that held the target have ended");
    let integrity = options.integrity;
    let target = blocking(move || {
        integrity::check(target.temp(), integrity)?;
        Ok(target)
    })
    .await?;
    blocking(move || target.finish()).await?;
    Ok(Restored {
        txid: newest.name.max.to_string(),
        timestamp: clock::format_unix_ms(header.timestamp_ms),
        bytes: u64::from(header.commit) * header.page_size.bytes() as u64,
        fetched: progress.fetched(),
        files: plan.files.len(),
        proven,
    })
}

/// Before a size in a header, which alone carries no checksum, is taken for the reason of a failure: damage is not a full disk.
async fn believe(store: &Store, file: &Entry) -> Result<()> {
    if file.size > SMALL {
        return Ok(());
    }
    let bytes = store.get_bytes(&file.key, None).await.map_err(|e| missing(e, file))?;
    let damaged = || Error::ltx(&file.key);
    let mut decoder = Decoder::new(&bytes[..]).map_err(damaged())?;
    let mut page = vec![0; decoder.header().page_size.bytes()];
    while decoder.next_page(&mut page).map_err(damaged())?.is_some() {}
    Ok(())
}

/// Compares the result with the rolling checksum in the newest header, where we wrote that (P2).
fn prove(header: &Header, target: &Target, newest: &Entry) -> Result<bool> {
    if Extension::from_reserved(&header.reserved).is_none() || header.node_id == 0 {
        return Ok(false);
    }
    if header.node_id == target.rolling() {
        return Ok(true);
    }
    Err(Error::Damaged {
        what: format!(
            "the database put together for TXID {} has rolling checksum {:016x}, its writer recorded {:016x}",
            newest.name.max,
            target.rolling(),
            header.node_id
        ),
        hint: "a file of the chain was replaced by another intact one; choose an older point with --txid"
            .into(),
    })
}

fn apply_small(file: &Entry, bytes: &Bytes, newest: &Header, target: &Target) -> Result<()> {
    let damaged = || Error::ltx(&file.key);
    let mut decoder = Decoder::new(&bytes[..]).map_err(damaged())?;
    check(file, decoder.header(), newest)?;
    let mut page = vec![0; newest.page_size.bytes()];
    // Pages are offered before the checksum at the end is known: the target is thrown away if it is wrong.
    while let Some(pgno) = decoder.next_page(&mut page).map_err(damaged())? {
        target.offer(pgno, &page).map_err(Error::io(target.temp(), "write"))?;
    }
    Ok(())
}

/// A file must say in its header what its name and the chain say.
pub(crate) fn check(file: &Entry, header: &Header, newest: &Header) -> Result<()> {
    let wrong = |what: String| Error::Damaged {
        what: format!("{}: {what}", file.key),
        hint: "the object is not the one its name says; choose an older point with --txid".into(),
    };
    if (header.min_txid, header.max_txid) != (file.name.min, file.name.max) {
        return Err(wrong(format!("its header says TXID {}-{}", header.min_txid, header.max_txid)));
    }
    if header.page_size != newest.page_size {
        return Err(wrong(format!(
            "page size {} in a chain of {}",
            header.page_size.get(),
            newest.page_size.get()
        )));
    }
    Ok(())
}

/// The header of a file: one ranged GET.
pub async fn read_header(store: &Store, file: &Entry) -> Result<Header> {
    let short = |size: u64| Error::Damaged {
        what: format!("{}: {size} bytes are too few for a header", file.key),
        hint: "choose an older point with --txid".into(),
    };
    // Not asked for what is not there: a store answers a range of an empty object with an error of its own.
    if file.size < HEADER_SIZE as u64 {
        return Err(short(file.size));
    }
    let bytes =
        store.get_bytes(&file.key, Some(0..HEADER_SIZE as u64)).await.map_err(|e| missing(e, file))?;
    let bytes: [u8; HEADER_SIZE] = bytes[..].try_into().map_err(|_| short(bytes.len() as u64))?;
    Ok(Header::from_bytes(&bytes).map_err(Error::ltx(&file.key))?.header)
}

/// A listed file that is not there any more was deleted under us: say so.
pub(crate) fn missing(error: store::Error, file: &Entry) -> Error {
    if error.is_not_found() {
        return Error::Damaged {
            what: format!("{} was listed and is gone", file.key),
            hint: "retention may have removed it meanwhile: try again".into(),
        };
    }
    error.into()
}

/// Runs CPU or disk work off the runtime's thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}
