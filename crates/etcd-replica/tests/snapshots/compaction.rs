//! Writes and compactions at every moment of a run, on a real etcd, without luck: the call in question is held until they are done.
//!
//! kube-apiserver compacts every five minutes, so each of these moments comes on every cluster sooner or later. What must never come out of it is
//! a false alarm, or a success that nobody has seen (P6).

use crate::bench::{Bench, etcd_at, run};
use crate::gate::{Gate, When};
use crate::real::{UID, source, start};
use etcd_replica::drill::{Tools, drill};
use etcd_replica::proof::{HashKv, Verdict};
use etcd_replica::{Catalogue, Manifest, TlsFiles, choose};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::etcd::{Cluster, program};

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
const HASH: &str = "/etcdserverpb.Maintenance/HashKV";

/// A lone etcd with a history: keys that were written twice, keys that are gone.
fn cluster() -> Option<Arc<Cluster>> {
    let cluster = start(1, false)?;
    cluster.fill(UID, 120);
    cluster.fill(UID, 40);
    cluster.ctl(&["del", "--prefix", "/registry/secrets/default/s0001"], "");
    Some(Arc::new(cluster))
}

fn revision(cluster: &Cluster) -> i64 {
    let got: serde_json::Value =
        serde_json::from_str(&cluster.ctl(&["get", "none", "-w", "json"], "")).unwrap();
    got["header"]["revision"].as_i64().unwrap()
}

/// Newer revisions than the snapshot's, and a compaction of all but the last `but`.
fn write_and_compact(cluster: &Cluster, but: i64) {
    cluster.fill(UID, 30);
    cluster.ctl(&["del", "/registry/secrets/default/s00020"], "");
    cluster.ctl(&["compaction", "--physical", &(revision(cluster) - but).to_string()], "");
}

/// Ships through a gate; each time `path` is called, `act` happens to the cluster while the call waits.
fn ship_with(
    cluster: &Arc<Cluster>,
    path: &'static str,
    when: When,
    act: impl Fn(&Cluster) + Send + Sync + 'static,
) -> Manifest {
    let (bench, acted) = (Bench::new(), Arc::new(AtomicUsize::new(0)));
    let (under, times) = (cluster.clone(), acted.clone());
    let gate = Gate::before(&cluster.endpoints()[0], path, when, move || {
        act(&under);
        times.fetch_add(1, Ordering::SeqCst);
    });
    let delivery = bench.ship(&etcd_at(std::slice::from_ref(&gate.endpoint), TlsFiles::default()));
    let manifest = delivery.unwrap().shipped.unwrap();
    assert_eq!(acted.load(Ordering::SeqCst), 1, "the call came by once");
    manifest
}

#[track_caller]
fn is_compacted(found: &HashKv) {
    assert_eq!(found.verdict, Verdict::Unknown, "{found:?}");
    let why = found.members[0].why.as_deref().unwrap_or_default();
    assert!(found.members.len() == 1 && why.contains("compacted"), "{found:?}");
}

#[test]
fn p6_a_compaction_between_the_snapshot_and_its_hash_is_unknown_and_never_a_false_alarm() {
    let Some(cluster) = cluster() else { return };
    // Beyond the snapshot's revision: its own state can no longer be asked for.
    let manifest = ship_with(&cluster, HASH, When::Asked, |cluster| write_and_compact(cluster, 0));
    is_compacted(&manifest.hashkv);
    assert!(manifest.read_back && manifest.level == 4, "the rest of the proof does not depend on it");
}

#[test]
fn p6_a_compaction_below_the_snapshot_before_its_hash_is_still_equal() {
    let Some(cluster) = cluster() else { return };
    // The member has compacted what the file still holds: the hash is computed from the file as if it had been compacted, too.
    let manifest = ship_with(&cluster, HASH, When::Asked, |cluster| {
        let to = revision(cluster) - 1;
        cluster.ctl(&["compaction", "--physical", &to.to_string()], "");
    });
    assert_eq!(manifest.hashkv.verdict, Verdict::Equal, "{:?}", manifest.hashkv);
    let stated = manifest.hashkv.members[0].compact_revision;
    assert_eq!(stated, Some(manifest.revision - 1), "{:?}", manifest.hashkv);
    assert!(manifest.compact_revision < manifest.revision - 1, "the file was taken before");
}

/// The newest write was a deletion, and it is compacted away: no row of the file has its revision any more.
#[test]
fn p6_a_deletion_that_is_compacted_away_is_neither_old_data_nor_a_failed_drill() {
    let Some(cluster) = cluster() else { return };
    cluster.ctl(&["del", "/registry/secrets/default/s00030"], "");
    let reached = revision(&cluster);
    cluster.ctl(&["compaction", "--physical", &reached.to_string()], "");
    let bench = Bench::new();
    let manifest = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
    assert_eq!(manifest.compact_revision, reached);
    assert!(manifest.revision <= reached, "releases differ in whether they keep its row");
    // Releases differ in whether they say what they held at the revision they compacted to: 3.4 does not, 3.5 and 3.6 say what it was before.
    assert_ne!(manifest.hashkv.verdict, Verdict::Mismatch, "{:?}", manifest.hashkv);
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    let item = choose(&catalogue, None).unwrap();
    let tools = Tools::find(program("etcd").unwrap().parent()).unwrap();
    let keys = Some(bench.identities.clone());
    let drilled =
        run(drill(&bench.store, item, keys, &tools, bench.dir.path(), true, &*bench.clock)).unwrap();
    assert_eq!(drilled.failed, None, "{drilled:?}");
}

#[test]
fn p6_writes_and_compactions_while_a_snapshot_streams_change_nothing_in_it() {
    let Some(cluster) = cluster() else { return };
    let before = revision(&cluster);
    let manifest = ship_with(&cluster, SNAPSHOT, When::Answered, |cluster| write_and_compact(cluster, 0));
    assert_eq!(manifest.revision, before, "what came while it streamed is not in it");
    is_compacted(&manifest.hashkv);
    // Only written to meanwhile: the member can still say what it held at that revision.
    cluster.fill(UID, 5);
    let before = revision(&cluster);
    let manifest = ship_with(&cluster, SNAPSHOT, When::Answered, |cluster| cluster.fill(UID, 30));
    assert_eq!((manifest.revision, manifest.hashkv.verdict), (before, Verdict::Equal));
    // Before the member has begun, everything is in it.
    let manifest = ship_with(&cluster, SNAPSHOT, When::Asked, |cluster| write_and_compact(cluster, 3));
    assert!(manifest.revision > before);
    assert_eq!(manifest.hashkv.verdict, Verdict::Equal, "{:?}", manifest.hashkv);
}

/// Three members, each compacting when it gets there: whatever they answer, nobody is accused.
#[test]
fn p6_members_that_compact_at_different_times_accuse_nobody() {
    let Some(cluster) = start(3, true) else { return };
    cluster.fill(UID, 400);
    let over = std::sync::atomic::AtomicBool::new(false);
    let verdicts = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                cluster.put(&[("/registry/leases/one".into(), "more".into())]);
                // Somebody else may have been faster; that is no failure of this test.
                let now = revision(&cluster).to_string();
                let _ = cluster.try_ctl(&["compaction", &now], "");
            }
        });
        let bench = Bench::new();
        let verdicts: Vec<_> = (0..6)
            .map(|_| {
                let shipped = bench.ship(&source(&cluster));
                bench.clock.advance_ms(3_600_000);
                let verdict = shipped.and_then(|delivery| Ok(delivery.shipped?.hashkv.verdict));
                verdict.map_err(|error| error.to_string())
            })
            .collect();
        over.store(true, Ordering::SeqCst);
        verdicts
    });
    assert!(
        verdicts.iter().all(|found| matches!(found, Ok(Verdict::Equal | Verdict::Unknown))),
        "{verdicts:?}"
    );
}
