//! One run: take, prove, ship to every destination, read back, manifest, then retention. The order is the safety.
//!
//! Nothing is uploaded that is not complete and sound; nothing is a backup before its manifest; nothing is deleted before this run's own
//! snapshot is proven in the store (P2, P3). A snapshot that differs from a live member is kept, its manifest says so, the run fails,
//! and retention stops.

use crate::layout::{Name, Part, RESULT, Slot, check_cluster};
use crate::manifest::{FORMAT, Manifest};
use crate::opening::digest_stored;
use crate::proof::{Content, HashKv, Shape, Verdict, prove};
use crate::prune::{PruneOptions, Pruned, prune, tally};
use crate::result::{Proven, RunResult, Status, last_run, write_or_warn};
use crate::retention::Policy;
use crate::source::{Source, Taken};
use crate::token::{self, Token};
use crate::upload::{Stored, upload};
use crate::{Error, Result, spool};
use bytes::Bytes;
use clock::Clock;
use nix::fcntl::{Flock, FlockArg};
use seal::Protection;
use serde::Serialize;
use std::fs::File;
use std::path::PathBuf;
use store::{PutOptions, Store};

/// Clocks that differ by more than this make a snapshot suspect.
const SUSPECT_MS: i64 = 300_000;

/// One place to ship to.
#[derive(Debug)]
pub struct Destination {
    /// How it is named in messages.
    pub url: String,
    /// The store.
    pub store: Store,
    /// Its retention.
    pub policy: Policy,
}

/// How a run is done.
#[derive(Debug)]
pub struct ShipOptions {
    /// Cluster as configured.
    pub cluster: String,
    /// Sealed or plain.
    pub protection: Protection,
    /// Disk-backed directory.
    pub spool_dir: PathBuf,
    /// Seconds between two runs.
    pub interval: i64,
    /// K3s server token.
    pub token: Option<Token>,
    /// Run retention after success.
    pub prune: bool,
    /// A tighter policy that a person accepted.
    pub accepted: Option<String>,
    /// Version for the manifest.
    pub tool: String,
}

/// What happened at one destination.
#[derive(Debug)]
pub struct Delivery {
    /// The destination.
    pub url: String,
    /// The manifest, or why there is none.
    pub shipped: Result<Manifest>,
    /// Retention, if it ran.
    pub pruned: Option<Result<Pruned>>,
}

/// A proven snapshot, before it is shipped.
struct Proof {
    content: Content,
    hashkv: HashKv,
    token_opens: Option<bool>,
}

/// A summary for output.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Where.
    pub destination: String,
    /// Key of the snapshot.
    pub object: String,
    /// etcd revision.
    pub revision: i64,
    /// Level of proof.
    pub level: u8,
    /// Compared with live members.
    pub hashkv: Verdict,
    /// Bytes stored.
    pub stored_bytes: u64,
    /// The hash that etcd's tools print.
    pub status_hash: String,
}

impl From<(&str, &Manifest)> for Summary {
    fn from((url, manifest): (&str, &Manifest)) -> Self {
        Self {
            destination: url.to_owned(),
            object: manifest.object.clone(),
            revision: manifest.revision,
            level: manifest.level,
            hashkv: manifest.hashkv.verdict,
            stored_bytes: manifest.stored_bytes,
            status_hash: manifest.status_hash.clone(),
        }
    }
}

/// Takes one snapshot and ships it everywhere; one delivery per destination.
pub async fn ship(
    source: &Source,
    destinations: &[Destination],
    options: &ShipOptions,
    clock: &dyn Clock,
) -> Result<Vec<Delivery>> {
    check_cluster(&options.cluster)?;
    destinations.iter().try_for_each(|destination| destination.policy.check())?;
    spool::check_dir(&options.spool_dir)?;
    if options.token.is_some() && matches!(options.protection, Protection::Plain) {
        return Err(Error::Usage(
            "--token-file needs --recipient: the server token is never stored in the clear".into(),
        ));
    }
    let _lock = lock(&options.spool_dir)?;
    let taken = source.take(&options.spool_dir, clock).await?;
    let (taken, proof) = prove_taken(taken, options.token.clone()).await?;
    tracing::info!(
        revision = proof.content.revision,
        keys = proof.content.keys,
        bytes = taken.received.body,
        stream_seconds = taken.stream_seconds,
        hashkv = ?proof.hashkv.verdict,
        "snapshot is proven"
    );
    let mut deliveries = Vec::with_capacity(destinations.len());
    for destination in destinations {
        let start = clock.monotonic_ns();
        let shipped = deliver(destination, options, &taken, &proof).await;
        let seconds = (clock.monotonic_ns() - start) as f64 / 1e9;
        let mut delivery = Delivery { url: destination.url.clone(), shipped, pruned: None };
        if let Ok(manifest) = &delivery.shipped {
            after(destination, options, manifest, &taken, seconds, clock).await;
            if options.prune && manifest.hashkv.verdict != Verdict::Mismatch {
                delivery.pruned = Some(retain(destination, options, manifest, clock).await);
            }
        }
        deliveries.push(delivery);
    }
    Ok(deliveries)
}

/// Records that a run failed before anything was shipped.
pub async fn record_failure(destination: &Destination, cluster: &str, exit: u8, clock: &dyn Clock) {
    let mut run = last_run(&destination.store, cluster).await.ok().flatten().unwrap_or_default();
    run.last_attempt = clock.unix_ms() / 1_000;
    run.last_exit_code = exit;
    write_or_warn(&destination.store, &format!("{cluster}/{RESULT}"), &run).await;
}

/// One run per spool directory; a second one is told so.
fn lock(dir: &std::path::Path) -> Result<Flock<File>> {
    let path = dir.join(".etcd-shipper.lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::local(format!("open {}", path.display())))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => {
            Error::Busy(format!("another etcd-shipper works in {}", dir.display()))
        }
        errno => Error::local(format!("lock {}", path.display()))(errno.into()),
    })
}

async fn prove_taken(taken: Taken, token: Option<Token>) -> Result<(Taken, Proof)> {
    let work = move || {
        let spool = &*taken.received.spool;
        let shape = Shape::of(spool)?;
        let members = taken.hashes.as_deref().unwrap_or_default();
        let compacted: Vec<i64> = members.iter().filter_map(|member| member.compact_revision).collect();
        let content = prove(spool, &shape, &compacted)?;
        spool.forget();
        let hashkv = match &taken.hashes {
            Ok(members) => HashKv::judge(members.clone(), &content.hashes),
            Err(why) => HashKv::unknown(why),
        };
        let token_opens = match (&token, &content.bootstrap) {
            (None, _) => None,
            (Some(token), bootstrap) => Some(token::opens(token, bootstrap.as_ref())?),
        };
        Ok::<_, Error>((taken, Proof { content, hashkv, token_opens }))
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Source(format!("the proof ended: {error}")))?
}

async fn deliver(
    destination: &Destination,
    options: &ShipOptions,
    taken: &Taken,
    proof: &Proof,
) -> Result<Manifest> {
    let store = &destination.store;
    let received = &taken.received;
    let sha256 = hex::encode(received.sha256);
    let mut name = Name {
        cluster: options.cluster.clone(),
        slot: Slot::Daily,
        taken: taken.taken_ms / 1_000,
        revision: proof.content.revision,
        digest: sha256[..8].to_owned(),
    };
    let full = name.to_string();
    let day = full.rsplit_once('/').map_or("", |(day, _)| day);
    if !store.list_all(&format!("{day}/")).await?.is_empty() {
        name.slot = Slot::Recent;
    }
    let sealed = matches!(options.protection, Protection::Sealed(_));
    let object = name.key(if sealed { Part::Sealed } else { Part::Plain });
    let Stored { bytes, sha256: stored_sha256 } =
        upload(store, &object, received, &options.protection).await?;
    let read_back = match digest_stored(store, &object).await {
        Ok(found) if found == (bytes, stored_sha256.clone()) => true,
        Ok((length, _)) => {
            return Err(Error::Damaged(format!(
                "{object}: {bytes} bytes were sent and {length} other ones came back; no manifest was written"
            )));
        }
        Err(Error::Store(store::Error::Denied { .. })) => {
            tracing::warn!(
                object,
                "this credential cannot read: the proof must come from outside (etcd-shipper verify)"
            );
            false
        }
        Err(error) => return Err(error),
    };
    let token = match &options.token {
        Some(token) => {
            let key = name.key(Part::Token);
            let body = token::seal(token, &options.protection)?;
            store.put(&key, Bytes::from(body), &PutOptions::overwrite()).await?;
            Some(key)
        }
        None => None,
    };
    let skew = store.server_date_skew();
    let content = &proof.content;
    let equal = proof.hashkv.verdict == Verdict::Equal;
    let manifest = Manifest {
        format: FORMAT,
        tool: options.tool.clone(),
        cluster: options.cluster.clone(),
        kube_system_uid: content.kube_system_uid.clone(),
        taken_at: clock::format_unix_ms(taken.taken_ms / 1_000 * 1_000),
        store_skew_ms: skew,
        clock_suspect: skew.is_some_and(|ms| ms.abs() > SUSPECT_MS),
        origin: taken.origin.clone(),
        stream_seconds: taken.stream_seconds,
        revision: content.revision,
        compact_revision: content.compact_revision,
        storage_version: content.storage_version.clone(),
        raft_term: content.term,
        raft_index: content.consistent_index,
        body_bytes: received.body,
        body_sha256: sha256,
        trailer_added: !received.trailer,
        status_hash: format!("{:08x}", content.status_hash),
        keys: content.keys,
        entries: content.entries,
        resources: content.resources.clone(),
        hashkv: proof.hashkv.clone(),
        object,
        stored_bytes: bytes,
        stored_sha256,
        recipients: match &options.protection {
            Protection::Sealed(recipients) => recipients.texts(),
            Protection::Plain => Vec::new(),
        },
        token,
        token_opens: proof.token_opens,
        level: if read_back { 4 } else { 2 + u8::from(equal) },
        read_back,
    };
    let body = serde_json::to_vec_pretty(&manifest).expect("plain fields serialise");
    let create = PutOptions { content_type: Some("application/json".into()), ..PutOptions::create() };
    store.put(&name.key(Part::Manifest), Bytes::from(body), &create).await?;
    Ok(manifest)
}

/// Status objects, after the manifest; none of them can fail the run.
async fn after(
    destination: &Destination,
    options: &ShipOptions,
    manifest: &Manifest,
    taken: &Taken,
    seconds: f64,
    clock: &dyn Clock,
) {
    let (store, cluster) = (&destination.store, &options.cluster);
    let before = last_run(store, cluster).await.ok().flatten().unwrap_or_default();
    if before.keys > 0 && (manifest.keys * 2 < before.keys || manifest.body_bytes * 4 < before.body_bytes) {
        tracing::warn!(keys = manifest.keys, before = before.keys, "the cluster shrank by more than half");
    }
    let mismatch = manifest.hashkv.verdict == Verdict::Mismatch;
    let run = RunResult {
        last_attempt: clock.unix_ms() / 1_000,
        last_exit_code: if mismatch { 4 } else { 0 },
        body_bytes: manifest.body_bytes,
        stored_bytes: manifest.stored_bytes,
        revision: manifest.revision,
        keys: manifest.keys,
        verify_level: manifest.level,
        hashkv: Some(manifest.hashkv.verdict),
        stream_seconds: taken.stream_seconds,
        upload_seconds: seconds,
        interval_seconds: options.interval,
        candidates: before.candidates,
        backlog: before.backlog,
        objects: before.objects,
        db_size: taken.origin.db_size,
        db_in_use: taken.origin.db_in_use,
        clock_offset_seconds: manifest.store_skew_ms.map(|ms| ms / 1_000),
    };
    write_or_warn(store, &format!("{cluster}/{RESULT}"), &run).await;
    if mismatch || !manifest.read_back {
        return;
    }
    let now = clock::format_unix_ms(clock.unix_ms());
    let status = Status {
        last_point: Some(manifest.taken_at.clone()),
        size_bytes: manifest.stored_bytes,
        proven: Some(now.clone()),
        ..Status::etcd(cluster, clock)
    };
    write_or_warn(store, &format!("{cluster}/highwater/status.json"), &status).await;
    let proven = Proven {
        format: 1,
        through: manifest.object.clone(),
        at: now,
        by: "sidecar".into(),
        how: "bytes".into(),
    };
    write_or_warn(store, &format!("{cluster}/highwater/proven.json"), &proven).await;
}

async fn retain(
    destination: &Destination,
    options: &ShipOptions,
    manifest: &Manifest,
    clock: &dyn Clock,
) -> Result<Pruned> {
    let just_written = Name::parse(&manifest.object).map(|(name, _)| name.to_string());
    let prune_options = PruneOptions {
        policy: destination.policy.clone(),
        interval: options.interval,
        accepted: options.accepted.clone(),
        plan_hash: None,
        just_written,
    };
    let (store, cluster) = (&destination.store, &options.cluster);
    let pruned = prune(store, cluster, &prune_options, clock).await?;
    if let Ok(Some(mut run)) = last_run(store, cluster).await {
        run.objects = tally(&pruned.plan);
        run.backlog = pruned.backlog();
        run.candidates = pruned.candidates();
        write_or_warn(store, &format!("{cluster}/{RESULT}"), &run).await;
    }
    Ok(pruned)
}
