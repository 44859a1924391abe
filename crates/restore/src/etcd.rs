//! `restore etcd`: the exact file that etcd's own tools take, and the steps for the platform; never needs the cluster.

use crate::values::{moment, url};
use clap::Args;
use door::Failure;
use etcd_replica::{Catalogue, Class, Error, choose, resolve, restore, steps};
use seal::Identities;
use std::path::PathBuf;
use std::sync::Arc;
use store::{OpenConfig, StoreUrl};
use telemetry::Exit;

#[derive(Args)]
pub(crate) struct Etcd {
    /// Where the snapshots are
    #[arg(value_parser = url)]
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
    /// Opens sealed snapshots
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    identity: Option<PathBuf>,
    /// Replace an existing output
    #[arg(long)]
    force: bool,
    /// Say which snapshot would be written, and stop
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Etcd) -> Result<Exit, Failure> {
    let identities = args.identity.as_deref().map(Identities::from_file).transpose();
    let identities = identities.map_err(|error| failed(error.into()))?.map(Arc::new);
    let store = store::open(&args.url, OpenConfig::default()).await.map_err(|error| failed(error.into()))?;
    let cluster = resolve(&store, args.cluster.as_deref()).await.map_err(failed)?;
    let catalogue = Catalogue::load(&store, &cluster).await.map_err(failed)?;
    let item = choose(&catalogue, args.timestamp.map(|ms| ms.div_euclid(1_000))).map_err(failed)?;
    if args.dry_run {
        println!("{}: revision {}, level {} of proof", item.name, item.name.revision, item.level());
        return Ok(Exit::Done);
    }
    let manifest = restore(&store, item, identities, &args.output, args.force).await.map_err(failed)?;
    print!("{}", steps(&manifest, &args.output));
    Ok(Exit::Done)
}

fn failed(error: Error) -> Failure {
    let exit = match error.class() {
        Class::Retriable => Exit::Failed,
        Class::Usage => Exit::Usage,
        Class::Refused => Exit::Refused,
        Class::Damaged => Exit::Damaged,
        Class::Busy => Exit::Fenced,
    };
    Failure::new(exit, error)
}
