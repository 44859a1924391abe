//! The drill: a restore that really happens, into an empty directory, with etcd's own tools, up to a running etcd.
//!
//! Fetch, open, prove, `etcdutl snapshot restore` (or 3.4's `etcdctl`), start `etcd` on loopback, and compare what it serves with the manifest:
//! revision, keys in all and per resource, HashKV. The result stands beside the snapshot (level 5, which retention never crosses) and
//! in `highwater/drill.json` for the exporter. Everything is in one scratch directory and one child process; both are gone afterwards.
//!
//! P3: only a comparison condemns a snapshot, and only when a second drill finds the same. A tool that fails, a machine without room, memory or
//! time fails the drill and leaves what was proven before as it was.

mod server;
mod tools;

pub use tools::Tools;

use crate::catalogue::{Catalogue, Item};
use crate::manifest::Manifest;
use crate::restore::{Progress, restore};
use crate::result::{DrillStatus, Proven, Status, write_or_warn};
use crate::verify::record;
use crate::{Error, Result, token};
use clock::{Clock, IdGen};
use seal::Identities;
use serde::Serialize;
use server::Server;
use std::path::Path;
use std::sync::Arc;
use store::Store;

/// How many resources are counted one by one in the running etcd; the largest ones.
const COUNTED: usize = 40;

/// What one drill found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drilled {
    /// Name of the snapshot.
    pub name: String,
    /// Key of its object.
    pub object: String,
    /// Why it failed.
    pub failed: Option<String>,
    /// Seconds from the first request to the last comparison.
    pub seconds: f64,
    /// What was compared.
    pub checks: Vec<String>,
}

/// The newest proven snapshot and one random older one.
pub fn pick<'a>(catalogue: &'a Catalogue, ids: &dyn IdGen) -> Result<Vec<&'a Item>> {
    let newest = crate::restore::choose(catalogue, None)?;
    let older: Vec<&Item> =
        catalogue.items.iter().filter(|item| item.is_verified() && item.name != newest.name).collect();
    let mut picked = vec![newest];
    if !older.is_empty() {
        picked.push(older[(ids.next_u64() % older.len() as u64) as usize]);
    }
    Ok(picked)
}

/// Restores one snapshot into a running etcd and compares; `recorded` writes the result beside the snapshot.
pub async fn drill(
    store: &Store,
    item: &Item,
    identities: Option<Arc<Identities>>,
    tools: &Tools,
    dir: &Path,
    recorded: bool,
    clock: &dyn Clock,
) -> Result<Drilled> {
    let start = clock.monotonic_ns();
    let mut checks = Vec::new();
    let mut tried = run(store, item, identities.clone(), tools, dir, &mut checks).await;
    if let Err(Error::Damaged(why)) = &tried {
        tracing::warn!(snapshot = %item.name, why, "the drill found a difference and is done once more");
        checks.clear();
        tried = run(store, item, identities, tools, dir, &mut checks).await;
    }
    let seconds = (clock.monotonic_ns() - start) as f64 / 1e9;
    let (failed, is_verdict) = match tried {
        Ok(()) => (None, true),
        Err(error @ Error::Damaged(_)) => (Some(error.to_string()), true),
        Err(error @ Error::Source(_)) => (Some(error.to_string()), false),
        // A store that is away or a tool that is missing: nothing was drilled.
        Err(error) => return Err(error),
    };
    if recorded && is_verdict {
        record(store, item, if failed.is_some() { 0 } else { 5 }, failed.clone(), "drill", clock).await;
    }
    let object = item.payload.as_ref().map(|payload| payload.key.clone()).unwrap_or_default();
    Ok(Drilled { name: item.name.to_string(), object, failed, seconds, checks })
}

/// Records what the exporter shows, after all drills of a run.
pub async fn conclude(store: &Store, cluster: &str, drilled: &[Drilled], clock: &dyn Clock) {
    let finished = clock::format_unix_ms(clock.unix_ms());
    let failed = drilled.iter().any(|drill| drill.failed.is_some());
    let drill = DrillStatus {
        result: if failed { "failed" } else { "ok" }.into(),
        finished: finished.clone(),
        seconds: drilled.iter().map(|drill| drill.seconds).sum(),
    };
    let status = Status { drill: Some(drill), ..Status::etcd(cluster, clock) };
    write_or_warn(store, &format!("{cluster}/highwater/drill.json"), &status).await;
    if let Some(first) = drilled.first().filter(|_| !failed) {
        let proven = Proven {
            format: 1,
            through: first.object.clone(),
            at: finished,
            by: "drill".into(),
            how: "restore".into(),
        };
        write_or_warn(store, &format!("{cluster}/highwater/proven.json"), &proven).await;
    }
}

/// The drills of a run as people read them.
pub fn table(drilled: &[Drilled]) -> String {
    let mut text = String::new();
    for one in drilled {
        let verdict = if one.failed.is_some() { "FAILED" } else { "ok" };
        text += &format!("{verdict:<6} {} in {:.1} s\n", one.name, one.seconds);
        one.checks.iter().for_each(|check| text += &format!("       {check}\n"));
        if let Some(why) = &one.failed {
            text += &format!("       {why}\n");
        }
    }
    text
}

async fn run(
    store: &Store,
    item: &Item,
    identities: Option<Arc<Identities>>,
    tools: &Tools,
    dir: &Path,
    checks: &mut Vec<String>,
) -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("drill-").tempdir_in(dir);
    let scratch = scratch.map_err(Error::local(format!("make a scratch directory in {}", dir.display())))?;
    let file = scratch.path().join("snapshot.db");
    let manifest = restore(store, item, identities.clone(), &file, false, &Progress::default()).await?;
    checks.push(format!("opened: {} bytes with SHA-256 {}", manifest.body_bytes, manifest.body_sha256));
    if let Some(key) = &manifest.token {
        // Another object, which can be replaced: a wrong one fails the drill and says nothing against the snapshot.
        check_token(store, key, identities, &file).await.map_err(|error| match error {
            Error::Damaged(why) => Error::Source(why),
            other => other,
        })?;
        checks.push("the K3s token opens the bootstrap data".into());
    }
    let data = scratch.path().join("data");
    tools.snapshot_restore(&file, &data, &scratch.path().join("restore.log")).await?;
    checks.push(format!("restored by {}", tools.restorer_name()));
    let server = Server::start(tools, &data, scratch.path()).await?;
    let compared = match compare(&server, &manifest, &file, checks).await {
        Err(Error::Damaged(why)) => Err(of_one_state(&server, &manifest, why).await),
        compared => compared,
    };
    server.stop().await;
    compared
}

/// The revision that the snapshot had reached. Where the newest write was a deletion that is compacted away, no row tells of its revision, but
/// the compaction does.
fn reached(manifest: &Manifest) -> i64 {
    manifest.revision.max(manifest.compact_revision)
}

/// A difference, unless the etcd has moved on: nobody writes to it, but on a slow machine leases run out while it is looked at.
async fn of_one_state(server: &Server, manifest: &Manifest, why: String) -> Error {
    match server.client().count(b"\0highwater").await {
        Ok((_, now)) if now <= reached(manifest) => Error::Damaged(why),
        Ok((_, now)) => Error::Source(format!("{why}; it is at revision {now} by now: leases ran out")),
        Err(error) => error,
    }
}

async fn compare(server: &Server, manifest: &Manifest, file: &Path, checks: &mut Vec<String>) -> Result<()> {
    let etcd = server.client();
    let (keys, revision) = etcd.count(b"").await?;
    let differs = |what: &str, found: String, said: String| {
        Err(Error::Damaged(format!("the restored etcd serves {what} {found}, the manifest says {said}")))
    };
    let is_compacted = manifest.compact_revision >= manifest.revision;
    let reached = reached(manifest);
    if revision != reached {
        return differs("revision", revision.to_string(), reached.to_string());
    }
    if keys != manifest.keys {
        return differs("keys:", keys.to_string(), manifest.keys.to_string());
    }
    let mut resources: Vec<(&String, &u64)> = manifest.resources.iter().collect();
    resources.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named = resources.iter().filter(|(name, _)| !name.starts_with('(')).take(COUNTED);
    let mut counted = 0;
    for (name, said) in named {
        let (found, _) = etcd.count(format!("/registry/{name}/").as_bytes()).await?;
        // A group's own resources lie below a plain one of the same name only if somebody named them so; then more is right.
        if found < **said {
            return differs(name, found.to_string(), said.to_string());
        }
        counted += 1;
    }
    checks.push(format!(
        "etcd serves revision {revision}, {keys} keys, {counted} kinds of resources as the manifest says"
    ));
    // Nobody writes to it, so "now" is the same; a compacted revision can only be asked for like that.
    let answer = etcd.hash_kv(if is_compacted { 0 } else { manifest.revision }).await;
    let answer = answer.map_err(|status| etcd.connection.failed("HashKV", &status))?;
    let path = file.to_owned();
    let at = answer.compact_revision;
    let ours = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(&path).map_err(Error::local("open the restored file"))?;
        let shape = crate::proof::Shape::of(&file)?;
        Ok::<_, Error>(crate::proof::prove(&file, &shape, &[at])?.hashes)
    });
    let ours = ours.await.map_err(|error| Error::Source(format!("hashing ended: {error}")))??;
    if ours.get(&at) != Some(&answer.hash) {
        return differs("HashKV", answer.hash.to_string(), format!("{:?}", ours.get(&at)));
    }
    checks.push(format!("HashKV {} at compact revision {at} is equal", answer.hash));
    Ok(())
}

async fn check_token(
    store: &Store,
    key: &str,
    identities: Option<Arc<Identities>>,
    file: &Path,
) -> Result<()> {
    let sealed = crate::catalogue::small(store, key).await?;
    let identities =
        identities.ok_or_else(|| Error::Refused(format!("{key} is sealed: say --identity FILE")))?;
    let path = file.to_owned();
    let work = move || {
        let mut text = String::new();
        let mut reader = seal::Opener::new(&sealed[..], &identities)?;
        std::io::Read::read_to_string(&mut reader, &mut text)
            .map_err(|error| Error::Damaged(error.to_string()))?;
        let token = token::Token::parse(&text, "the stored token")?;
        let file = std::fs::File::open(&path).map_err(Error::local("open the restored file"))?;
        let shape = crate::proof::Shape::of(&file)?;
        let content = crate::proof::prove(&file, &shape, &[])?;
        token::opens(&token, content.bootstrap.as_ref())
    };
    let opens =
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::Source(format!("{error}")))??;
    if opens {
        Ok(())
    } else {
        Err(Error::Damaged(format!("the token in {key} does not open the bootstrap data of its snapshot")))
    }
}
