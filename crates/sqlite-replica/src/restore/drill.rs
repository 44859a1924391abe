//! A rehearsal: the newest and one older point restored into a scratch directory, checked, compared, recorded.
//!
//! What a drill adds to a verification is everything behind the bytes: room on a disk, SQLite's `integrity_check`, an application's own
//! question to the data. The older point is chosen at random, so that in the long run every kind of chain is tried. Both must be proven
//! by the rolling checksum of their writer, where he left one, and the older one must not hold later commits than the newest.
//! The result object is written for a failed drill as well: silence is what it is there to prevent.

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::identity::Lineage;
use crate::proven::{By, How, Proven};
use crate::restore::execute::{RestoreOptions, Restored};
use crate::restore::integrity::Integrity;
use crate::restore::plan::RestorePlan;
use crate::restore::points::points;
use crate::restore::recover::{Goal, Recovery};
use crate::restore::sealed::check_identity;
use clock::{Clock, IdGen};
use ltx::Txid;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Progress, PutOptions, Store};

/// Key of the result object below the replica.
pub const DRILL_KEY: &str = "highwater/drill.json";

/// How to rehearse.
pub struct DrillOptions<'a> {
    /// Directory for the restored databases; removed again.
    pub scratch: PathBuf,
    /// Requests and memory.
    pub restore: RestoreOptions,
    /// A question to the newest restored database; an `Err` fails the drill.
    pub probe: &'a (dyn Fn(&Path) -> std::result::Result<(), String> + Send + Sync),
    /// Write the result and the proof into the replica.
    pub record: bool,
}

/// One restored point.
#[derive(Debug, Clone, Serialize)]
pub struct DrilledPoint {
    /// What was restored.
    #[serde(flatten)]
    pub restored: Restored,
    /// How long it took, the check included.
    pub seconds: f64,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Drill {
    /// Whose replica it is.
    pub app: String,
    /// The database, as its writer named it.
    pub database: String,
    /// True if everything was as it must be.
    pub ok: bool,
    /// RFC 3339.
    pub finished: String,
    /// How long all of it took.
    pub seconds: f64,
    /// The newest point, then the older one if there is any.
    pub points: Vec<DrilledPoint>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The document `highwater/drill.json`; its head is that of every room's status object.
#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    kind: &'static str,
    app: &'a str,
    cluster: &'a str,
    name: &'a str,
    written: &'a str,
    last_point: Option<&'a str>,
    size_bytes: u64,
    proven: Option<&'a str>,
    drill: Summary<'a>,
}

#[derive(Serialize)]
struct Summary<'a> {
    result: &'static str,
    finished: &'a str,
    seconds: f64,
}

/// Rehearses. An `Err` means that the result could not be recorded or that nothing could be tried; a failed rehearsal is a result.
pub async fn drill(
    store: &Store,
    options: &DrillOptions<'_>,
    clock: &dyn Clock,
    ids: &dyn IdGen,
    progress: &Arc<Progress>,
) -> Result<Drill> {
    let started = clock.monotonic_ns();
    let catalogue = Catalogue::load(store).await?;
    let all = points(&catalogue);
    // Says why there is nothing to rehearse, if so.
    let newest = RestorePlan::new(&catalogue, None).map(|plan| plan.newest().name.max);
    let newest = match (newest, catalogue.newest()) {
        (Err(Error::Damaged { .. }), Some(newest)) => newest,
        (newest, _) => newest?,
    };
    let lineage = if catalogue.has_lineage { Lineage::load(store).await? } else { None };
    // A missing or wrong identity is no finding about the replica, and is not recorded as one.
    if lineage.as_ref().is_some_and(|lineage| lineage.sealed)
        && let Some(plan) = RestorePlan::furthest(&catalogue, None)
        && let Err(error @ Error::Refused { .. }) =
            check_identity(&options.restore.fetch(store, progress.clone()), &plan).await
    {
        return Err(error);
    }
    let dir = tempfile::tempdir_in(&options.scratch)
        .map_err(Error::io(&options.scratch, "create a scratch directory in"))?;
    let older = (all.len() > 1).then(|| all[(ids.next_u64() % (all.len() as u64 - 1)) as usize].txid);
    let mut points = Vec::new();
    let mut failure = None;
    for (name, goal) in [("newest.db", Some(newest)), ("older.db", older)] {
        let Some(txid) = goal else { continue };
        let path = dir.path().join(name);
        match one(store, &catalogue, txid, &path, options, clock, progress).await {
            Ok(point) => points.push(point),
            Err(error) => {
                failure = Some(format!("TXID {txid}: {error}"));
                break;
            }
        }
        if txid == newest
            && let Err(answer) = (options.probe)(&path)
        {
            failure = Some(format!("probe: {answer}"));
            break;
        }
        // The room of one database is enough.
        let _ = std::fs::remove_file(&path);
    }
    if let [new, old] = points.as_slice()
        && old.restored.timestamp > new.restored.timestamp
        && clock::parse_unix_ms(&old.restored.timestamp) > clock::parse_unix_ms(&new.restored.timestamp)
    {
        failure = Some(format!("TXID {} says that it is younger than the newest", old.restored.txid));
    }
    let drill = Drill {
        app: lineage.as_ref().map_or_else(String::new, |l| l.identity.app.clone()),
        database: lineage.as_ref().map_or_else(String::new, |l| l.identity.database.clone()),
        ok: failure.is_none(),
        finished: clock::format_unix_ms(clock.unix_ms()),
        seconds: (clock.monotonic_ns() - started) as f64 / 1e9,
        points,
        failure,
    };
    if options.record {
        record(store, &drill, lineage.as_ref(), newest, clock).await?;
    }
    Ok(drill)
}

async fn one(
    store: &Store,
    catalogue: &Catalogue,
    txid: Txid,
    path: &Path,
    options: &DrillOptions<'_>,
    clock: &dyn Clock,
    progress: &Arc<Progress>,
) -> Result<DrilledPoint> {
    let started = clock.monotonic_ns();
    let mut how = options.restore.clone();
    how.integrity = Integrity::Full;
    let mut recovery = Recovery::new(store, catalogue.clone(), false);
    let recovered = recovery.restore(Goal::Txid(txid), path, &how, progress).await?;
    if let Some(finding) = recovered.damage.first() {
        return Err(Error::Object {
            key: finding.key.clone(),
            what: finding.what.clone(),
            hint: "the point could be restored around it".into(),
        });
    }
    Ok(DrilledPoint { restored: recovered.restored, seconds: (clock.monotonic_ns() - started) as f64 / 1e9 })
}

async fn record(
    store: &Store,
    drill: &Drill,
    lineage: Option<&Lineage>,
    newest: Txid,
    clock: &dyn Clock,
) -> Result<()> {
    if drill.ok {
        Proven::new(newest, clock.unix_ms(), By::Drill, How::Restore).announce(store).await?;
    }
    let identity = lineage.map(|l| &l.identity);
    let first = drill.points.first().map(|p| &p.restored);
    let document = Document {
        format: 1,
        kind: "sqlite",
        app: identity.map_or("", |i| &i.app),
        cluster: identity.map_or("", |i| &i.cluster),
        name: identity.map_or("", |i| &i.database),
        written: &drill.finished,
        last_point: first.map(|r| r.timestamp.as_str()),
        size_bytes: first.map_or(0, |r| r.bytes),
        proven: drill.ok.then_some(drill.finished.as_str()),
        drill: Summary {
            result: if drill.ok { "ok" } else { "failed" },
            finished: &drill.finished,
            seconds: drill.seconds,
        },
    };
    let body = serde_json::to_vec_pretty(&document).expect("plain fields serialise");
    let json = PutOptions { content_type: Some("application/json".into()), ..PutOptions::overwrite() };
    store.put(DRILL_KEY, body.into(), &json).await?;
    Ok(())
}
