//! `etcd-shipper list`.

use crate::cli::{List, Which};
use crate::failed;
use door::{Failure, print};
use etcd_replica::point::table;
use etcd_replica::{Catalogue, points, resolve};
use store::{OpenConfig, Store};
use telemetry::Exit;

pub(crate) async fn open(which: &Which) -> Result<(Store, String), Failure> {
    let store = store::open(&which.url, OpenConfig::default()).await.map_err(|error| failed(error.into()))?;
    let cluster = resolve(&store, which.cluster.as_deref()).await.map_err(failed)?;
    Ok((store, cluster))
}

pub(crate) async fn run(args: List) -> Result<Exit, Failure> {
    let (store, cluster) = open(&args.which).await?;
    let catalogue = Catalogue::load(&store, &cluster).await.map_err(failed)?;
    let rows = points(&catalogue);
    print(args.which.output, &rows, |rows| table(rows));
    for key in &catalogue.foreign {
        tracing::debug!(key, "foreign object");
    }
    if !catalogue.foreign.is_empty() {
        eprintln!(
            "etcd-shipper: {} objects below {cluster}/ are not ours and never touched",
            catalogue.foreign.len()
        );
    }
    if rows.is_empty() {
        return Err(Failure::new(Exit::Refused, format!("no snapshot of cluster {cluster} is here")));
    }
    Ok(Exit::Done)
}
