//! A sealed replica looked at by somebody who cannot open it: what is there, under which names, and what its clear parts say.
//!
//! That notices a lost, cut, swapped or foreign object, and never more: nothing is opened, so nothing is proven, and the result says so.

use crate::catalogue::{Catalogue, Entry};
use crate::error::{Error, Result};
use crate::identity::Lineage;
use crate::proven::How;
use crate::restore::head::{Head, read_head};
use crate::restore::object::check;
use crate::restore::plan::RestorePlan;
use crate::restore::recover::Finding;
use crate::restore::verify::{Verification, VerifyOptions};
use crate::sealed::locked;
use crate::upkeep::CLAIM_SIZE;
use futures::StreamExt;
use ltx::Extension;
use std::sync::Arc;
use store::{Progress, Store};

/// Looks, if the replica is sealed; `None` if it is not.
pub(super) async fn unopened(
    store: &Store,
    catalogue: &Catalogue,
    options: &VerifyOptions,
    holes: &[Finding],
    progress: &Arc<Progress>,
) -> Result<Option<Verification>> {
    let lineage = match Lineage::load(store).await {
        // A restore does not need it, so its damage is none of the replica's data.
        Err(Error::Damaged { .. }) => return Ok(None),
        lineage => lineage?,
    };
    let Some(lineage) = lineage.filter(|lineage| lineage.sealed) else { return Ok(None) };
    if options.full {
        return Err(locked("the replica"));
    }
    let lineage = lineage.id()?;
    let chain = RestorePlan::furthest(catalogue, None).map_or_else(Vec::new, |plan| plan.files);
    let files = if options.all { catalogue.entries.clone() } else { chain };
    let heads = files.iter().map(|entry| async move { (entry, read_head(store, entry).await) });
    let heads: Vec<_> = futures::stream::iter(heads).buffered(options.restore.parallelism).collect().await;
    let (mut findings, mut objects, mut newest_ms) = (holes.to_vec(), 0, None);
    for (entry, head) in heads {
        progress.add(entry.size.min(seal::CLEAR_BYTES as u64));
        objects += 1;
        match head.and_then(|head| fits(entry, &head, lineage)) {
            Ok(ms) => newest_ms = newest_ms.max(Some(ms)),
            Err(error) => {
                let Some(key) = error.object().map(str::to_owned) else { return Err(error) };
                let what = match error {
                    Error::Object { what, .. } => what,
                    other => other.to_string(),
                };
                findings.push(Finding { key, what });
            }
        }
    }
    let newest = catalogue.newest().map(|txid| txid.to_string()).unwrap_or_default();
    Ok(Some(Verification {
        ok: findings.is_empty(),
        newest,
        provable: None,
        timestamp: newest_ms.map(clock::format_unix_ms),
        proven: false,
        how: How::Sealed,
        objects,
        bytes: progress.fetched(),
        findings,
    }))
}

/// Whether an object is what its name and the replica say; its time, ms.
fn fits(entry: &Entry, head: &Head, lineage: u64) -> Result<i64> {
    check(entry, &head.header, None)?;
    let damaged = |what: String| Err(crate::restore::object::damaged(entry, what));
    if !head.sealed && entry.size != CLAIM_SIZE {
        return damaged("it is in plain text in a sealed replica".into());
    }
    let of = Extension::from_reserved(&head.header.reserved).map(|stamp| stamp.lineage);
    match of {
        Some(of) if of != lineage => {
            damaged(format!("it is of another history ({of:016x} in a replica of {lineage:016x})"))
        }
        _ => Ok(head.header.timestamp_ms),
    }
}
