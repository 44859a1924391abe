//! `restore unlock` of etcd snapshots: refused, because nobody holds a claim there. Each run writes under a name of its own, create-only;
//! the only thing that is held is the lease of a pruner, and that one lapses.

use door::Failure;
use store::StoreUrl;
use telemetry::Exit;

pub(crate) fn refused(url: &StoreUrl) -> Failure {
    let what = "etcd snapshots have no writer's claim to take over, and a pruner's lease lapses within an hour; nothing was changed";
    Failure::new(
        Exit::Refused,
        format!("{what}: `etcd-shipper prune '{url}'` shows what retention waits for"),
    )
}
