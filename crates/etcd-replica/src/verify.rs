//! Reading a stored snapshot back from outside: the proof that a write-only pod cannot give itself.
//!
//! Without an identity the stored bytes are compared with their digest; with one the snapshot is opened, and everything that the
//! manifest says is found again: length, SHA-256, structure, revision, keys, the status hash. The result stands beside the manifest.

use crate::catalogue::Item;
use crate::intake::{Intake, Received};
use crate::layout::Part;
use crate::manifest::{FORMAT, LaterProof, Manifest};
use crate::opening::{compare_stored, described, digest_stored, open};
use crate::proof::{Shape, prove};
use crate::{Error, Result, result};
use clock::Clock;
use seal::Identities;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use store::{Progress, Store};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Name of the snapshot.
    pub name: String,
    /// Whether it was opened; else only the stored bytes were compared.
    pub opened: bool,
    /// What is wrong.
    pub failed: Option<String>,
}

/// Verifies one snapshot and records the result beside it.
pub async fn verify(
    store: &Store,
    item: &Item,
    identities: Option<Arc<Identities>>,
    dir: &Path,
    clock: &dyn Clock,
) -> Result<Verified> {
    let (opened, failed) = match check(store, item, identities, dir).await {
        Ok(opened) => (opened, None),
        Err(Error::Damaged(why)) if described(item).is_ok() => (false, Some(why)),
        // Wrong keys and networks prove nothing about the object.
        Err(error) => return Err(error),
    };
    record(store, item, if failed.is_some() { 0 } else { 4 }, failed.clone(), "verify", clock).await;
    Ok(Verified { name: item.name.to_string(), opened, failed })
}

/// Reads one snapshot back and compares; true if it was opened. Damage is [`Error::Damaged`], and two readings found it: one bad
/// transfer is no bad object (P3).
pub(crate) async fn check(
    store: &Store,
    item: &Item,
    identities: Option<Arc<Identities>>,
    dir: &Path,
) -> Result<bool> {
    let manifest = described(item)?;
    match read_back(store, manifest, identities.clone(), dir).await {
        Err(Error::Damaged(why)) => {
            tracing::warn!(snapshot = %item.name, why, "damage was found, and it is read once more");
            read_back(store, manifest, identities, dir).await
        }
        read => read,
    }
}

async fn read_back(
    store: &Store,
    manifest: &Manifest,
    identities: Option<Arc<Identities>>,
    dir: &Path,
) -> Result<bool> {
    if manifest.recipients.is_empty() || identities.is_some() {
        return spooled(store, manifest, identities, dir).await.map(|_| true);
    }
    let (bytes, sha256) = digest_stored(store, &manifest.object).await?;
    compare_stored(manifest, bytes, &sha256).map(|()| false)
}

/// Writes what was proven beside the manifest.
pub(crate) async fn record(
    store: &Store,
    item: &Item,
    level: u8,
    failed: Option<String>,
    by: &str,
    clock: &dyn Clock,
) {
    if is_news(item, failed.as_deref()) {
        let proof = proof_of(item, level, failed, by, clock);
        result::write_or_warn(store, &item.name.key(Part::Proof), &proof).await;
    }
}

/// Whether it is to be written. A failure that stands there already keeps its date: retention counts the days for a look from it.
pub(crate) fn is_news(item: &Item, failed: Option<&str>) -> bool {
    failed.is_none() || item.later.as_ref().is_none_or(|later| later.failed.is_none())
}

/// The proof to write; an earlier drill is not forgotten.
pub(crate) fn proof_of(
    item: &Item,
    level: u8,
    failed: Option<String>,
    by: &str,
    clock: &dyn Clock,
) -> LaterProof {
    let drilled = item.is_drilled() && failed.is_none();
    LaterProof {
        format: FORMAT,
        level: if drilled { level.max(5) } else { level },
        failed,
        by: by.to_owned(),
        at: clock::format_unix_ms(clock.unix_ms()),
    }
}

/// Fetches, opens and proves a snapshot; what is given back is in a spool.
pub(crate) async fn spooled(
    store: &Store,
    manifest: &Manifest,
    identities: Option<Arc<Identities>>,
    dir: &Path,
) -> Result<Received> {
    let expected = manifest.clone();
    let intake = Intake::new(dir, true)?;
    open(
        store,
        manifest,
        identities,
        &Progress::default(),
        intake,
        |intake, bytes| intake.push(bytes),
        move |intake| {
            let received = match intake.finish() {
                Err(Error::Source(why)) => Err(Error::Damaged(why)),
                other => other,
            }?;
            let shape = Shape::of(&*received.spool)?;
            let content = prove(&*received.spool, &shape, &[])?;
            let found = (
                hex::encode(received.sha256),
                format!("{:08x}", content.status_hash),
                content.revision,
                content.keys,
                &content.kube_system_uid,
            );
            let said = (
                expected.body_sha256.clone(),
                expected.status_hash.clone(),
                expected.revision,
                expected.keys,
                &expected.kube_system_uid,
            );
            if found != said {
                return Err(Error::Damaged(format!(
                    "{} holds revision {} with status hash {}, its manifest says {} with {}",
                    expected.object, found.2, found.1, said.2, said.1
                )));
            }
            Ok(received)
        },
    )
    .await
}
