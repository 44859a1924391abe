//! Reading snapshots back as a restore would, newest first, until one is whole: what `restore verify` prints and may record.
//!
//! Nothing is written unless [`record`] is called. With an identity a snapshot is opened and everything in it compared with its
//! manifest; without one the stored bytes are compared with what was stored. What cannot be found out is an error, never damage (P6).

use crate::catalogue::{Catalogue, Item};
use crate::layout::Part;
use crate::point::State;
use crate::result::{Proven, write};
use crate::verify::{check, is_news, proof_of};
use crate::{Error, Result};
use clock::Clock;
use seal::Identities;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use store::Store;

/// The result; the field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The newest snapshot is whole, and with `all` every other one.
    pub ok: bool,
    /// The cluster.
    pub cluster: String,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Objects that were read.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Snapshots that were opened and compared with their manifests; the others' stored bytes were.
    pub opened: u64,
    /// The newest snapshot that is whole.
    pub provable: Option<String>,
    /// When it was taken, RFC 3339.
    pub time: Option<String>,
    /// Its etcd revision.
    pub revision: Option<i64>,
    /// What is not whole, newest first.
    pub findings: Vec<Damage>,
    /// Names of the whole ones, newest first.
    #[serde(skip)]
    whole: Vec<String>,
}

/// A snapshot that cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its name.
    pub snapshot: String,
    /// The object and what is wrong with it.
    pub what: String,
}

/// Looks at the newest snapshot, and goes back while it finds damage; with `all` to the first one. `scratch` holds a sealed spool.
pub async fn survey(
    store: &Store,
    catalogue: &Catalogue,
    all: bool,
    identities: Option<Arc<Identities>>,
    scratch: &Path,
) -> Result<Survey> {
    let mut survey = Survey {
        ok: true,
        cluster: catalogue.cluster.clone(),
        snapshots: 0,
        objects: 0,
        bytes: 0,
        opened: 0,
        provable: None,
        time: None,
        revision: None,
        findings: Vec::new(),
        whole: Vec::new(),
    };
    // What an unfinished run left is no backup, and no damage.
    for item in catalogue.items.iter().rev().filter(|item| item.state() != State::Partial) {
        survey.snapshots += 1;
        match look(store, item, identities.clone(), scratch, &mut survey).await {
            Ok(()) => {
                survey.whole.push(item.name.to_string());
                if survey.provable.is_none() {
                    survey.provable = Some(item.name.to_string());
                    survey.time = Some(clock::format_unix_ms(item.name.taken * 1_000));
                    survey.revision = Some(item.name.revision);
                }
                if !all {
                    break;
                }
            }
            Err(Error::Damaged(what)) => {
                survey.ok = false;
                survey.findings.push(Damage { snapshot: item.name.to_string(), what });
            }
            Err(error) => return Err(error),
        }
    }
    if survey.snapshots == 0 {
        return Err(Error::Refused(format!("no snapshot of cluster {} is here", catalogue.cluster)));
    }
    Ok(survey)
}

async fn look(
    store: &Store,
    item: &Item,
    identities: Option<Arc<Identities>>,
    scratch: &Path,
    survey: &mut Survey,
) -> Result<()> {
    if let Some(why) = item.mismatch() {
        return Err(Error::Damaged(why));
    }
    let opened = check(store, item, identities, scratch).await?;
    survey.opened += u64::from(opened);
    survey.objects += 2;
    survey.bytes += item.payload.as_ref().map_or(0, |payload| payload.size);
    Ok(())
}

/// Writes what was found beside the snapshots, and up to where the replica is proven.
pub async fn record(store: &Store, catalogue: &Catalogue, survey: &Survey, clock: &dyn Clock) -> Result<()> {
    for item in &catalogue.items {
        let name = item.name.to_string();
        let damage = survey.findings.iter().find(|damage| damage.snapshot == name);
        if damage.is_none() && !survey.whole.contains(&name) {
            continue;
        }
        // A snapshot that differs from a member is judged by its manifest already; that its bytes are whole changes nothing.
        if item.mismatch().is_some() {
            continue;
        }
        let failed = damage.map(|damage| damage.what.clone());
        if !is_news(item, failed.as_deref()) {
            continue;
        }
        let level = if failed.is_some() { 0 } else { 4 };
        write(store, &item.name.key(Part::Proof), &proof_of(item, level, failed, "verify", clock)).await?;
    }
    if let Some(item) = catalogue.items.iter().find(|item| Some(item.name.to_string()) == survey.provable) {
        let proven = Proven {
            format: 1,
            through: item.payload.as_ref().map(|payload| payload.key.clone()).unwrap_or_default(),
            at: clock::format_unix_ms(clock.unix_ms()),
            by: "verify".into(),
            how: "bytes".into(),
        };
        write(store, &format!("{}/highwater/proven.json", catalogue.cluster), &proven).await?;
    }
    Ok(())
}
