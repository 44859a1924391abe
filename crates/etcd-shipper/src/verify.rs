//! `etcd-shipper verify`.

use crate::cli::Verify;
use crate::{failed, list};
use clock::SystemClock;
use door::{Failure, print};
use etcd_replica::{Catalogue, Item, Verified, verify};
use seal::Identities;
use std::path::Path;
use std::sync::Arc;
use telemetry::Exit;

/// The identities of a file. A file that is not there is told: plain snapshots need none, and a Job's optional Secret mounts nothing.
pub(crate) fn identities(path: Option<&Path>) -> Result<Option<Arc<Identities>>, Failure> {
    if let Some(missing) = path.filter(|path| !path.exists()) {
        tracing::warn!(path = %missing.display(), "the identity file does not exist: only plain snapshots can be opened");
        return Ok(None);
    }
    let read = path.map(Identities::from_file).transpose();
    read.map(|identities| identities.map(Arc::new)).map_err(|error| failed(error.into()))
}

pub(crate) async fn run(args: Verify) -> Result<Exit, Failure> {
    let identities = identities(args.identity.as_deref())?;
    let (store, cluster) = list::open(&args.which).await?;
    let catalogue = Catalogue::load(&store, &cluster).await.map_err(failed)?;
    let complete: Vec<&Item> =
        catalogue.items.iter().filter(|item| item.manifest.is_some() || item.unreadable.is_some()).collect();
    let chosen = if args.all { &complete[..] } else { &complete[complete.len().saturating_sub(1)..] };
    if chosen.is_empty() {
        return Err(Failure::new(Exit::Refused, format!("no snapshot of cluster {cluster} is here")));
    }
    let mut found: Vec<Verified> = Vec::new();
    for item in chosen {
        match verify(&store, item, identities.clone(), &args.spool_dir, &SystemClock).await {
            Ok(verified) => found.push(verified),
            Err(etcd_replica::Error::Damaged(why)) => {
                found.push(Verified { name: item.name.to_string(), opened: false, failed: Some(why) });
            }
            Err(error) => return Err(failed(error)),
        }
    }
    print(args.which.output, &found, |found| {
        found
            .iter()
            .map(|one| match (&one.failed, one.opened) {
                (Some(why), _) => format!("FAILED  {}: {why}\n", one.name),
                (None, true) => format!("proven  {}\n", one.name),
                (None, false) => format!(
                    "stored  {}: the bytes are what was stored; --identity would open them\n",
                    one.name
                ),
            })
            .collect()
    });
    Ok(if found.iter().any(|one| one.failed.is_some()) { Exit::Damaged } else { Exit::Done })
}
