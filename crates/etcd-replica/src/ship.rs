//! One run: take, prove, ship to every destination, read back, manifest, then retention. The order is the safety.
//!
//! Nothing is uploaded that is not complete and sound; nothing is a backup before its manifest; nothing is deleted before this run's own
//! snapshot is proven in the store (P2, P3). A snapshot that differs from a live member is kept, its manifest says so, the run fails,
//! and retention stops.

mod deliver;
mod record;
mod retain;
mod summary;

use crate::layout::check_cluster;
use crate::manifest::Manifest;
use crate::proof::{Content, HashKv, Shape, Verdict, prove};
use crate::prune::Pruned;
use crate::retention::Policy;
use crate::source::{Source, Taken};
use crate::token::{self, Token};
use crate::{Error, Result, spool};
use clock::Clock;
use deliver::deliver;
use nix::fcntl::{Flock, FlockArg};
pub use record::record_failure;
use retain::retain;
use seal::Protection;
use std::fs::File;
use std::path::PathBuf;
use store::Store;
pub use summary::Summary;

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
            record::success(destination, options, manifest, &taken, seconds, clock).await;
            if options.prune && manifest.hashkv.verdict != Verdict::Mismatch {
                delivery.pruned = Some(retain(destination, options, manifest, clock).await);
            }
        }
        deliveries.push(delivery);
    }
    Ok(deliveries)
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
            Ok(members) => HashKv::judge(members.clone(), &content.hashes, content.compact_revision),
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
