//! A rehearsal: the newest and one older snapshot restored into a scratch directory, compared with their manifests, recorded.
//!
//! What a drill adds to a verification is everything behind the bytes: room on a disk, names, modes, an application's own question to the
//! files. The older snapshot is chosen at random. The result object is written for a failed drill as well.

use crate::catalogue::Catalogue;
use crate::layout::{DRILL_KEY, Seq};
use crate::manifest::{CommitKind, Head};
use crate::repo::Repo;
use crate::restore::{Options, Progress, RestorePlan, Want, is_exactly, restore};
use crate::verify::{Verified, put_json, record};
use crate::{Error, Filter, Result};
use clock::{Clock, IdGen};
use seal::Identities;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;

/// How to rehearse.
pub struct DrillOptions<'a> {
    /// Directory for the restored trees; removed again.
    pub scratch: PathBuf,
    /// Opens a sealed replica.
    pub identities: Option<Arc<Identities>>,
    /// Requests and memory.
    pub restore: Options,
    /// A question to the newest restored tree; an `Err` fails the drill.
    pub probe: &'a (dyn Fn(&Path) -> std::result::Result<(), String> + Send + Sync),
    /// Write the result and the proof into the replica.
    pub record: bool,
}

/// One restored snapshot; the field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub struct DrilledSnapshot {
    /// Its number.
    pub snapshot: Seq,
    /// When it was committed, RFC 3339.
    pub timestamp: String,
    /// Entries that were restored.
    pub entries: u64,
    /// Bytes that were restored.
    pub bytes: u64,
    /// How long it took, the comparison included.
    pub seconds: f64,
}

/// The result; the field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub struct Drill {
    /// Whose replica it is.
    pub app: String,
    /// The tree, as its writer named it.
    pub tree: String,
    /// True if everything was as it must be.
    pub ok: bool,
    /// RFC 3339.
    pub finished: String,
    /// How long all of it took.
    pub seconds: f64,
    /// The newest snapshot, then the older one if there is any.
    pub points: Vec<DrilledSnapshot>,
    /// Why it failed.
    pub failure: Option<String>,
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
    let repo = Repo::load(store).await?;
    let nothing = || Error::Nothing {
        what: "the replica holds no snapshot".into(),
        hint: "nothing was ever committed, or the URL is another one's".into(),
    };
    let identity = repo.ok_or_else(nothing)?.identity;
    let catalogue = Catalogue::load(store).await?;
    let newest = catalogue.newest_snapshot(store).await?.ok_or_else(nothing)?;
    let older = older(store, &catalogue, newest.number, ids).await?;
    if let (true, None) = (newest.sealed, &options.identities) {
        return Err(crate::chest::no_identity(&format!("snapshot {}", newest.number)));
    }
    let scratch = options.scratch.join(format!("highwater-drill-{:016x}", ids.next_u64()));
    std::fs::create_dir(&scratch).map_err(Error::io(&scratch, "create"))?;
    let mut points = Vec::new();
    let mut failure = None;
    for (name, number) in [("newest", Some(newest.number)), ("older", older)] {
        let Some(number) = number else { continue };
        let root = scratch.join(name);
        match one(store, number, &root, options, clock, progress).await {
            Ok(point) => points.push(point),
            Err(error) => {
                failure = Some(format!("snapshot {number}: {error}"));
                break;
            }
        }
        if number == newest.number
            && let Err(answer) = (options.probe)(&root)
        {
            failure = Some(format!("probe: {answer}"));
            break;
        }
        // The room of one tree is enough.
        remove(&root)?;
    }
    remove(&scratch)?;
    let finished = clock::format_unix_ms(clock.unix_ms());
    let seconds = (clock.monotonic_ns() - started) as f64 / 1e9;
    let drill = Drill {
        app: identity.app.clone(),
        tree: identity.tree.clone(),
        ok: failure.is_none(),
        finished,
        seconds,
        points,
        failure,
    };
    if options.record {
        note(store, &drill, &identity, &newest, clock).await?;
    }
    Ok(drill)
}

/// Any snapshot but the newest.
async fn older(store: &Store, catalogue: &Catalogue, newest: Seq, ids: &dyn IdGen) -> Result<Option<Seq>> {
    let heads = catalogue.heads(store, |_| None).await?;
    let snapshots: Vec<Seq> = heads
        .iter()
        .filter(|head| head.kind == CommitKind::Snapshot && head.number < newest)
        .map(|head| head.number)
        .collect();
    let at = (!snapshots.is_empty()).then(|| (ids.next_u64() % snapshots.len() as u64) as usize);
    Ok(at.map(|at| snapshots[at]))
}

async fn one(
    store: &Store,
    number: Seq,
    root: &Path,
    options: &DrillOptions<'_>,
    clock: &dyn Clock,
    progress: &Arc<Progress>,
) -> Result<DrilledSnapshot> {
    let started = clock.monotonic_ns();
    let identities = options.identities.clone();
    let plan = RestorePlan::new(store, Want::Number(number), &[], identities.as_deref()).await?;
    let done = restore(store, &plan, root, identities, &options.restore, clock, progress.clone()).await?;
    if !is_exactly(&plan, root, &Filter::new(&[])?).await? {
        return Err(Error::damaged(format!("what was restored of snapshot {number} is not its tree")));
    }
    Ok(DrilledSnapshot {
        snapshot: number,
        timestamp: done.time,
        entries: done.entries,
        bytes: done.bytes,
        seconds: (clock.monotonic_ns() - started) as f64 / 1e9,
    })
}

/// Directories that were restored read-only keep their entries from a user who is not root.
fn remove(dir: &Path) -> Result<()> {
    if std::fs::remove_dir_all(dir).is_ok() {
        return Ok(());
    }
    open_up(dir);
    std::fs::remove_dir_all(dir).map_err(Error::io(dir, "remove"))
}

fn open_up(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

async fn note(
    store: &Store,
    drill: &Drill,
    identity: &crate::Identity,
    newest: &Head,
    clock: &dyn Clock,
) -> Result<()> {
    let first = drill.points.first();
    if let (true, Some(point)) = (drill.ok, first) {
        let (objects, bytes) = (newest.objects.len() as u64 + 1, newest.objects.iter().map(|o| o.size).sum());
        let (snapshot, time, files) = (point.snapshot, point.timestamp.clone(), point.entries);
        record(store, &Verified { snapshot, time, objects, bytes, files }, "drill", clock).await?;
    }
    let result = if drill.ok { "ok" } else { "failed" };
    let document = serde_json::json!({
        "format": 1, "kind": "files", "app": identity.app, "cluster": identity.cluster, "name": identity.tree,
        "written": drill.finished, "last_point": newest.time, "size_bytes": newest.bytes,
        "proven": drill.ok.then_some(&drill.finished),
        "drill": { "result": result, "finished": drill.finished, "seconds": drill.seconds },
    });
    put_json(store, DRILL_KEY, &document).await
}
