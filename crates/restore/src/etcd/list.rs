//! `restore list` of etcd snapshots: one line per snapshot, as `etcd-shipper list` shows them.

use crate::cli::List;
use door::Failure;
use etcd_replica::point::table;
use etcd_replica::{Error, points};
use store::Store;
use telemetry::Exit;

pub(crate) async fn run(args: &List, store: &Store) -> Result<Exit, Failure> {
    let catalogue = super::load(store, args.cluster.as_deref()).await?;
    let rows = points(&catalogue);
    if rows.is_empty() {
        let what = format!("no snapshot of cluster {} is here", catalogue.cluster);
        return Err(super::failed(Error::Refused(what)));
    }
    door::print(args.output, &rows, |rows| table(rows));
    Ok(Exit::Done)
}
