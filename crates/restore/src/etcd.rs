//! `restore etcd`: the exact file that etcd's own tools take, and the steps for the platform; never needs the cluster. And the verbs
//! that work on every kind of replica.
//!
//! Takes the newest proven snapshot. A newer one that is known to be damaged or gone ends it with exit 4 and the choice; one that turns
//! out damaged while it is read does the same (P2: nothing gets the name of the output but a whole snapshot). `--latest-valid` goes back
//! by itself, and takes snapshots that nobody has read back yet as well, because this restore proves them.

pub(crate) mod drill;
pub(crate) mod list;
pub(crate) mod unlock;
pub(crate) mod verify;

use crate::values::bytes;
use crate::{confirm, identity, kind, progress};
use clap::Args;
use door::{Failure, Output, exit_of, moment};
use etcd_replica::{
    Catalogue, Error, Item, Manifest, PassedOver, Progress, choose, passed_over, promising, resolve, restore,
    steps,
};
use seal::Identities;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use store::{OpenConfig, Store, StoreUrl};
use telemetry::Exit;

#[derive(Args)]
pub(crate) struct Etcd {
    /// Where the snapshots are
    url: StoreUrl,
    /// The snapshot file to write
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Which cluster; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The newest proven snapshot taken at or before this time
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    timestamp: Option<clock::UnixMs>,
    /// The newest snapshot that proves itself now, should newer ones be damaged, or were none read back before
    #[arg(long)]
    latest_valid: bool,
    /// Opens sealed snapshots
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    identity: Option<PathBuf>,
    /// Replace an existing output without asking
    #[arg(long)]
    force: bool,
    /// Say which snapshot would be written, and stop
    #[arg(long)]
    dry_run: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    format: Output,
}

/// What was restored, or would be; the field names are an interface.
#[derive(Serialize)]
struct Restored {
    output: PathBuf,
    name: String,
    cluster: String,
    time: String,
    revision: i64,
    keys: u64,
    bytes: u64,
    stored_bytes: u64,
    /// What `etcdutl snapshot status` prints.
    status_hash: String,
    sealed: bool,
    /// Newer snapshots that were not taken, and why.
    passed_over: Vec<String>,
}

/// The cluster of a URL, its catalogue read.
async fn load(store: &Store, cluster: Option<&str>) -> Result<Catalogue, Failure> {
    match resolve(store, cluster).await {
        Ok(cluster) => Catalogue::load(store, &cluster).await.map_err(failed),
        Err(Error::Refused(why)) => {
            let instead = kind::instead_of_etcd(store).await;
            let instead = instead.map_err(|e| Failure::new(exit_of(e.class()), e))?;
            Err(failed(Error::Refused(match instead {
                Some((what, hint)) => format!("the prefix holds {what}: {hint}"),
                None => why,
            })))
        }
        Err(error) => Err(failed(error)),
    }
}

pub(crate) async fn run(args: Etcd) -> Result<Exit, Failure> {
    let identities = identity::named(args.identity.as_deref())?;
    let store = store::open(&args.url, OpenConfig::default()).await.map_err(|error| failed(error.into()))?;
    let catalogue = load(&store, args.cluster.as_deref()).await?;
    let at = args.timestamp.map(|ms| ms.div_euclid(1_000));
    let item = first(&catalogue, at, args.latest_valid).map_err(failed)?;
    let mut skipped = passed_over(&catalogue, item, at);
    if let Some(newest) = skipped.iter().find(|newer| newer.damaged && !args.latest_valid) {
        let what = format!("{}: {}", newest.name, newest.why);
        return Err(failed(Error::Damaged(format!("{what}; {}", before(item)))));
    }
    if args.dry_run {
        let manifest = item.manifest.as_ref().expect("what is chosen has a manifest");
        tell(&args, item, manifest, &skipped, |r| {
            format!(
                "{}: revision {}, {} keys, {} to fetch, level {} of proof",
                r.name,
                r.revision,
                r.keys,
                bytes(r.stored_bytes),
                item.level()
            )
        });
        return Ok(Exit::Done);
    }
    let force = args.force || asked(&args, item)?;
    for item in candidates(&catalogue, item, at, args.latest_valid) {
        match one(&store, item, identities.clone(), &args, force).await {
            Ok(manifest) => {
                tell(&args, item, &manifest, &skipped, |_| steps(&manifest, &args.output));
                return Ok(Exit::Done);
            }
            Err(Error::Damaged(why)) if args.latest_valid => {
                tracing::warn!(snapshot = %item.name, %why, "damaged: going back to the one before");
                skipped.push(PassedOver { name: item.name.to_string(), why, damaged: true });
            }
            Err(Error::Damaged(why)) => {
                let older = promising(&catalogue, Some(item.name.taken))
                    .into_iter()
                    .find(|other| other.name != item.name);
                let hint =
                    older.map_or_else(|| "no other snapshot of this cluster is whole".to_owned(), before);
                return Err(failed(Error::Damaged(format!("{why}; {hint}"))));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let cluster = &catalogue.cluster;
    Err(failed(Error::Damaged(format!("no snapshot of {cluster} is whole: {} were tried", skipped.len()))))
}

/// The newest that may be taken.
fn first(catalogue: &Catalogue, at: Option<i64>, latest_valid: bool) -> Result<&Item, Error> {
    match choose(catalogue, at) {
        chosen if !latest_valid => chosen.map_err(|error| match (promising(catalogue, at).first(), error) {
            (Some(item), Error::Damaged(why) | Error::Refused(why)) => Error::Damaged(format!(
                "{why}; nobody has read back {}: --latest-valid proves it while it is restored",
                item.name
            )),
            (_, error) => error,
        }),
        chosen => promising(catalogue, at).first().copied().map_or(chosen, Ok),
    }
}

fn candidates<'a>(
    catalogue: &'a Catalogue,
    item: &'a Item,
    at: Option<i64>,
    latest_valid: bool,
) -> Vec<&'a Item> {
    if latest_valid { promising(catalogue, at) } else { vec![item] }
}

/// What a person can have instead.
fn before(item: &Item) -> String {
    let time = clock::format_unix_ms(item.name.taken * 1_000);
    format!(
        "the newest one before it is of {time} (revision {}): restore it with --latest-valid",
        item.name.revision
    )
}

/// On a terminal, whether what is there may be replaced; elsewhere the flag has to say it.
fn asked(args: &Etcd, item: &Item) -> Result<bool, Failure> {
    if !args.output.is_file() || !confirm::is_interactive() {
        return Ok(false);
    }
    let what = format!("{} exists and will be replaced by {}", args.output.display(), item.name);
    if confirm::ask(&what) {
        return Ok(true);
    }
    Err(Failure::new(Exit::Refused, format!("{} was kept; nothing was changed", args.output.display())))
}

async fn one(
    store: &Store,
    item: &Item,
    identities: Option<Arc<Identities>>,
    args: &Etcd,
    force: bool,
) -> Result<Manifest, Error> {
    let progress = Arc::new(Progress::default());
    let counted = progress.clone();
    let total = item.payload.as_ref().map_or(0, |payload| payload.size);
    let shown = progress::show(move || counted.fetched(), total);
    let restored = restore(store, item, identities, &args.output, force, &progress).await;
    shown.finish();
    restored
}

fn tell(
    args: &Etcd,
    item: &Item,
    manifest: &Manifest,
    skipped: &[PassedOver],
    text: impl FnOnce(&Restored) -> String,
) {
    for newer in skipped {
        eprintln!("restore: passed over {}: {}", newer.name, newer.why);
    }
    let restored = Restored {
        output: args.output.clone(),
        name: item.name.to_string(),
        cluster: manifest.cluster.clone(),
        time: manifest.taken_at.clone(),
        revision: manifest.revision,
        keys: manifest.keys,
        bytes: manifest.body_bytes + etcd_replica::proof::TRAILER,
        stored_bytes: manifest.stored_bytes,
        status_hash: manifest.status_hash.clone(),
        sealed: !manifest.recipients.is_empty(),
        passed_over: skipped.iter().map(|newer| format!("{}: {}", newer.name, newer.why)).collect(),
    };
    door::print(args.format, &restored, text);
}

pub(crate) fn failed(error: Error) -> Failure {
    Failure::new(exit_of(error.class()), error)
}
