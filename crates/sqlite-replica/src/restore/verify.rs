//! What a replica would give back, found out without writing a database.
//!
//! The objects of the newest chain are read whole: names, headers, checksums, completeness, and the rolling checksum of the end state
//! against what its writer recorded. A damaged one is named and the chain is planned anew without it, until one is whole: its end is
//! the newest provable point. `all` reads every other object too; `full` restores the chain into a scratch directory and has SQLite check
//! it, as a restore at three in the morning would.

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Error, Result};
use crate::proven::How;
use crate::restore::ahead::Ahead;
use crate::restore::execute::{Discard, RestoreOptions, assemble, conclude};
use crate::restore::integrity::Integrity;
use crate::restore::object::{Fetch, Pages};
use crate::restore::plan::RestorePlan;
use crate::restore::proof::Proof;
use crate::restore::recover::{Finding, Goal, Recovery};
use crate::restore::run::Run;
use crate::restore::unopened::unopened;
use ltx::Txid;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Progress, Store};

/// How much to look at.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Every object, not only those of the newest chain.
    pub all: bool,
    /// Restore the newest chain into `scratch` and check the result with SQLite.
    pub full: bool,
    /// Directory for temporary files, removed again.
    pub scratch: PathBuf,
    /// Requests and memory.
    pub restore: RestoreOptions,
}

/// What was found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Verification {
    /// True if the newest point is provable and nothing that was looked at is damaged.
    pub ok: bool,
    /// Newest TXID of the replica.
    pub newest: String,
    /// Newest TXID that a restore gives back, if any.
    pub provable: Option<String>,
    /// When that was committed, RFC 3339.
    pub timestamp: Option<String>,
    /// True if that state was compared with the rolling checksum its writer recorded.
    pub proven: bool,
    /// What was done.
    pub how: How,
    /// Objects that were read.
    pub objects: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is damaged.
    pub findings: Vec<Finding>,
}

/// Collects nothing but the proof.
struct Seen {
    proof: Proof,
    scratch: PathBuf,
}

impl Pages for Seen {
    fn offer(&self, _: &mut Run, pgno: u32, page: &[u8]) -> io::Result<()> {
        self.proof.accept(pgno, page);
        Ok(())
    }
    fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }
}

/// Verifies a replica. Damage is in the result; an `Err` means that it could not be found out (P6), or that nothing is there.
pub async fn verify(
    store: &Store,
    options: &VerifyOptions,
    progress: &Arc<Progress>,
) -> Result<Verification> {
    let catalogue = Catalogue::load(store).await?;
    let mut holes = Vec::new();
    match RestorePlan::new(&catalogue, None) {
        Ok(_) => {}
        Err(Error::Damaged { what, .. }) => holes.push(Finding { key: String::new(), what }),
        Err(error) => return Err(error),
    }
    let newest = catalogue.newest().expect("a plan without files is an error above");
    if options.restore.identities.is_none()
        && let Some(found) = unopened(store, &catalogue, options, &holes, progress).await?
    {
        return Ok(found);
    }
    let fetch = options.restore.fetch(store, progress.clone());
    let mut recovery = Recovery::new(store, catalogue.clone(), true);
    let mut read = BTreeSet::new();

    let mut provable: Option<(Txid, i64, bool)> = None;
    loop {
        let way = match recovery.way(Goal::Newest).await {
            Ok(way) => way,
            Err(Error::Object { .. }) => break,
            Err(error) => return Err(error),
        };
        read.extend(way.plan.files.iter().map(|e| e.key.clone()));
        let tried = if options.full {
            restored(&mut recovery, options, progress).await.map(Some)
        } else {
            seen(&fetch, &way.plan, &options.scratch).await
        };
        match tried {
            Ok(Some(found)) => {
                provable = Some(found);
                break;
            }
            Ok(None) => {}
            Err(Error::Damaged { .. }) => {
                match crate::restore::replay::first_wrong(&fetch, &way.plan, &options.scratch).await? {
                    Some(wrong) => recovery.learn(wrong).await?,
                    None => recovery.below(&way.plan, "the state it ends is not the one its writer had"),
                }
            }
            Err(error) => recovery.learn(error).await?,
        }
    }
    if options.all {
        for entry in catalogue.entries.iter().filter(|e| !read.contains(&e.key)) {
            if let Err(error) = alone(&fetch, entry, &options.scratch).await {
                recovery.learn(error).await?;
            }
        }
        read.extend(catalogue.entries.iter().map(|e| e.key.clone()));
    }
    let mut findings = recovery.damage().to_vec();
    findings.extend(holes);
    Ok(Verification {
        ok: findings.is_empty() && provable.is_some_and(|(txid, ..)| txid == newest),
        newest: newest.to_string(),
        provable: provable.map(|(txid, ..)| txid.to_string()),
        timestamp: provable.map(|(_, ms, _)| clock::format_unix_ms(ms)),
        proven: provable.is_some_and(|(.., proven)| proven),
        how: if options.full { How::Restore } else { How::Bytes },
        objects: read.len(),
        bytes: progress.fetched(),
        findings,
    })
}

/// Reads a chain as a restore would.
async fn seen(fetch: &Fetch, plan: &RestorePlan, scratch: &Path) -> Result<Option<(Txid, i64, bool)>> {
    let newest = plan.newest();
    let ahead = Ahead::begin(fetch, plan);
    let header = fetch.header(plan).await?;
    let seen = Arc::new(Seen { proof: Proof::new(header.commit), scratch: scratch.to_owned() });
    assemble(ahead, &header, &seen).await?;
    let proven = conclude(&header, &seen.proof, newest)?;
    Ok(Some((newest.name.max, header.timestamp_ms, proven)))
}

/// Restores a chain into the scratch directory, and throws the result away.
async fn restored(
    recovery: &mut Recovery,
    options: &VerifyOptions,
    progress: &Arc<Progress>,
) -> Result<(Txid, i64, bool)> {
    let dir = tempfile::tempdir_in(&options.scratch)
        .map_err(Error::io(&options.scratch, "create a scratch directory in"))?;
    let mut how = options.restore.clone();
    how.integrity = Integrity::Full;
    let done = recovery.restore(Goal::Newest, &dir.path().join("verify.db"), &how, progress).await?.restored;
    let txid = done.txid.parse().expect("a restore gives back a TXID");
    Ok((txid, clock::parse_unix_ms(&done.timestamp).unwrap_or_default(), done.proven))
}

/// Reads one object for itself.
async fn alone(fetch: &Fetch, entry: &Entry, scratch: &Path) -> Result<()> {
    let opened = fetch.open(entry.clone()).await?;
    fetch.pages(vec![opened], None, &Arc::new(Discard(scratch.to_owned()))).await
}
