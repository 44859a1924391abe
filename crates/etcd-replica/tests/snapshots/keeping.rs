//! Retention over stores that refuse, lie or change.

use crate::bench::{Bench, NOW, plain, run, skewed};
use crate::fake::{Fake, etcd};
use bytes::Bytes;
use etcd_replica::retention::{Gate, State};
use etcd_replica::{Catalogue, Class, Policy, PruneOptions, plan_prune, prune, resolve};
use store::{DeniedReason, Error, Operation, PutOptions};
use testkit::bolt::{kubernetes, snapshot};

/// Hourly runs over this many hours, each pruning as it goes.
pub(crate) fn history(bench: &Bench, fake: &Fake, hours: usize) {
    let file = snapshot(&kubernetes());
    etcd(fake, &file, 2);
    for _ in 0..hours {
        let delivery = bench.ship(&plain(fake.port)).unwrap();
        delivery.shipped.unwrap();
        bench.clock.advance_ms(3_600_000);
    }
}

pub(crate) fn options(policy: Policy) -> PruneOptions {
    PruneOptions { policy, interval: 3_600, accepted: None, fewer: None, plan_hash: None, just_written: None }
}

fn tight() -> Policy {
    Policy { keep_all: 2 * 3_600, keep_daily: 0, floor: 3, ..Policy::default() }
}

#[test]
fn p3_a_run_prunes_only_after_its_own_success_and_within_the_policy() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    bench.policy = tight();
    history(&bench, &fake, 8);
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert_eq!(catalogue.items.len(), 3, "the floor: {:?}", bench.keys());
    assert!(catalogue.items.iter().all(|item| item.is_verified()));
    let newest = catalogue.newest_verified(None).unwrap();
    assert_eq!(newest.name.taken, NOW / 1_000 + 7 * 3_600);
    // Status for the exporter.
    let status = run(bench.store.get_bytes("prod/highwater/status.json", None)).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    assert_eq!((&status["kind"], &status["cluster"]), (&"etcd".into(), &"prod".into()));
    assert_eq!(status["last_point"], clock::format_unix_ms(newest.name.taken * 1_000));
    let samples = run(etcd_replica::exporter::look(&bench.store, "memory://test")).unwrap();
    let value = |name: &str| samples.iter().find(|sample| sample.row.name == name).map(|sample| sample.value);
    assert_eq!(value("highwater_etcd_snapshot_count"), Some(3.0));
    assert_eq!(
        value("highwater_etcd_snapshot_last_success_timestamp_seconds"),
        Some(newest.name.taken as f64)
    );
    assert_eq!(value("highwater_etcd_hashkv_match"), Some(-1.0));
    assert_eq!(value("highwater_backup_last_object_timestamp_seconds"), Some(newest.name.taken as f64));
    assert_eq!(value("highwater_drill_last_result"), None, "never drilled is absent, not zero");
}

#[test]
fn p3_a_tighter_policy_deletes_nothing_until_it_is_accepted() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    history(&bench, &fake, 8);
    let before = bench.keys();
    let pruned = run(prune(&bench.store, "prod", &options(tight()), &*bench.clock)).unwrap();
    assert_eq!(pruned.plan.gates, [Gate::PolicyTightened { hash: tight().hash() }]);
    assert_eq!(bench.keys(), before);
    let mut accepted = options(tight());
    accepted.accepted = Some(tight().hash());
    let (plan, _) = run(plan_prune(&bench.store, "prod", &accepted, &*bench.clock)).unwrap();
    accepted.plan_hash = Some("000000000000".into());
    let other = run(prune(&bench.store, "prod", &accepted, &*bench.clock)).unwrap_err();
    assert_eq!((other.class(), bench.keys()), (Class::Refused, before));
    accepted.plan_hash = Some(plan.hash);
    let pruned = run(prune(&bench.store, "prod", &accepted, &*bench.clock)).unwrap();
    assert_eq!(pruned.deleted.len(), 5);
    assert!(!bench.keys().iter().any(|key| key.ends_with("_prune.lease")), "the lease is given back");
}

#[test]
fn p3_without_the_right_to_delete_backups_go_on_and_nothing_is_lost() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    bench.policy = tight();
    bench.faults.deny(Operation::Delete, true);
    history(&bench, &fake, 6);
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert_eq!(catalogue.items.iter().filter(|item| item.is_verified()).count(), 6);
    // It is told run after run: a lease that cannot be given back is no reason to stop looking.
    let delivery = bench.ship(&plain(fake.port)).unwrap();
    let pruned = delivery.pruned.unwrap().unwrap();
    assert_eq!((pruned.deleted.len(), pruned.locked.len(), pruned.backlog()), (0, 4, 4), "{pruned:?}");
    // Object lock says the same: denied is counted, and the next run tries again.
    bench.faults.deny(Operation::Delete, false);
    bench.clock.advance_ms(3_600_000);
    history(&bench, &fake, 1);
    let later = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert!(later.items.len() < 6, "{}", later.items.len());
}

#[test]
fn p3_locked_snapshots_do_not_stand_in_the_way_of_all_others() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    history(&bench, &fake, 12);
    bench.policy = tight();
    let mut narrow = options(Policy { max_deletes: 3, ..tight() });
    narrow.accepted = Some(narrow.policy.hash());
    // The store holds the three oldest fast: what a cap of three would try for ever.
    let names: Vec<String> = {
        let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
        catalogue.items.iter().map(|item| item.name.to_string()).collect()
    };
    for _ in 0..3 {
        let denied =
            Error::Denied { what: "delete".into(), reason: DeniedReason::Access, detail: "locked".into() };
        bench.faults.fail_next(Some(Operation::Delete), 1, store::fault::When::Before, denied);
    }
    let pruned = run(prune(&bench.store, "prod", &narrow, &*bench.clock)).unwrap();
    assert_eq!((&pruned.locked[..], &pruned.deleted[..]), (&names[..3], &names[3..6]));
    assert_eq!((pruned.backlog(), pruned.candidates()), (6, 9), "{:?}", pruned.plan.gates);
    // A plan that a person named is those deletions and no others.
    let (plan, _) = run(plan_prune(&bench.store, "prod", &narrow, &*bench.clock)).unwrap();
    narrow.plan_hash = Some(plan.hash.clone());
    let denied =
        Error::Denied { what: "delete".into(), reason: DeniedReason::Access, detail: "locked".into() };
    bench.faults.fail_next(Some(Operation::Delete), 1, store::fault::When::Before, denied);
    let pruned = run(prune(&bench.store, "prod", &narrow, &*bench.clock)).unwrap();
    assert_eq!((pruned.locked.len(), pruned.deleted.len()), (1, 2));
}

#[test]
fn leftovers_of_unfinished_runs_are_removed_and_count_for_nothing() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    for hour in 0..6 {
        let key = format!(
            "prod/recent/2026/11/15/etcd-prod-20261115T{hour:02}0000Z-r000000000009-0a1b2c3d.db.zst.age"
        );
        run(bench.store.put(&key, Bytes::from_static(b"x"), &PutOptions::create())).unwrap();
    }
    bench.clock.advance_ms(3 * 86_400_000);
    bench.policy = tight();
    history(&bench, &fake, 2);
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert_eq!(catalogue.items.len(), 2, "{:?}", bench.keys());
    let last = run(etcd_replica::result::last_run(&bench.store, "prod")).unwrap().unwrap();
    let noted = run(bench.store.get_bytes("prod/_policy.json", None)).unwrap();
    let noted: serde_json::Value = serde_json::from_slice(&noted).unwrap();
    let (left, backlog) = (noted["snapshots"].as_u64(), last.backlog);
    assert_eq!((left, backlog), (Some(2), Some(0)), "fewer snapshots than leftovers were removed");
}

#[test]
fn p3_a_listing_that_fails_deletes_nothing() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    history(&bench, &fake, 6);
    bench.policy = tight();
    let before = bench.keys();
    let detail = "half way".to_owned();
    let broken = Error::Denied { what: "list".into(), reason: DeniedReason::Access, detail };
    bench.faults.fail_next(Some(Operation::List), 50, store::fault::When::Before, broken);
    let mut accepted = options(tight());
    accepted.accepted = Some(tight().hash());
    assert!(run(prune(&bench.store, "prod", &accepted, &*bench.clock)).is_err());
    bench.faults.clear();
    assert_eq!(bench.keys(), before);
}

#[test]
fn p3_foreign_objects_and_other_clusters_are_never_touched() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    bench.policy = tight();
    let foreign = [
        "prod/etcd-snapshot-node-1716336000",
        "prod/.metadata/etcd-snapshot",
        "prod-2/daily/2026/11/21/etcd-prod-2-20261121T141500Z-r000000000009-0a1b2c3d.db.zst.age",
        "prod/daily/2020/01/01/etcd-other-20200101T000000Z-r000000000009-0a1b2c3d.db.zst.age",
        "notes.txt",
    ];
    for key in foreign {
        run(bench.store.put(key, Bytes::from_static(b"x"), &PutOptions::create())).unwrap();
    }
    history(&bench, &fake, 8);
    let keys = bench.keys();
    assert!(foreign.iter().all(|key| keys.contains(&(*key).to_owned())), "{keys:?}");
    let several = run(resolve(&bench.store, None)).unwrap_err();
    assert!(several.to_string().contains("say --cluster"), "{several}");
    assert_eq!(run(resolve(&bench.store, Some("prod"))).unwrap(), "prod");
    // A manifest of another cluster under our name: the same key space, another kube-system.
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    let mut stranger = catalogue.items[0].manifest.clone().unwrap();
    stranger.kube_system_uid = Some("00000000-aaaa-bbbb-cccc-000000000000".into());
    let key = catalogue.items[0].name.key(etcd_replica::layout::Part::Manifest);
    let body = Bytes::from(serde_json::to_vec(&stranger).unwrap());
    run(bench.store.put(&key, body, &PutOptions::overwrite())).unwrap();
    let (plan, _) = run(plan_prune(&bench.store, "prod", &options(tight()), &*bench.clock)).unwrap();
    assert_eq!(plan.rows[0].state, State::Foreign);
    assert!(plan.deletions().is_empty());
}

#[test]
fn p3_a_write_only_pod_ships_and_waits_for_proof_from_outside() {
    let (mut bench, fake) = (Bench::new(), Fake::start(None));
    bench.policy = tight();
    let file = snapshot(&kubernetes());
    etcd(&fake, &file, 2);
    bench.faults.deny(Operation::Get, true);
    let delivery = bench.ship(&plain(fake.port)).unwrap();
    let manifest = delivery.shipped.unwrap();
    assert!(!manifest.read_back && manifest.level == 2);
    bench.faults.deny(Operation::Get, false);
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert!(catalogue.newest_verified(None).is_none());
    let verified =
        run(etcd_replica::verify(&bench.store, &catalogue.items[0], None, bench.dir.path(), &*bench.clock));
    assert_eq!(verified.unwrap().failed, None);
    assert!(run(Catalogue::load(&bench.store, "prod")).unwrap().newest_verified(None).is_some());
}

#[test]
fn p3_uploads_that_fail_leave_no_backup_and_are_tried_again_from_the_spool() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    let mut pairs = kubernetes();
    // Does not compress, so that the upload has several parts.
    let noise = testkit::rng::Rng::new(3).bytes(300_000);
    pairs.push(("/registry/noise/one".into(), noise));
    etcd(&fake, &snapshot(&pairs), 2);
    let trouble = store::Trouble::Server;
    let broken = Error::Unavailable { what: "put_part".into(), trouble, detail: "500".into() };
    bench.faults.fail_next(Some(Operation::PutPart), 4, store::fault::When::Before, broken.clone());
    bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    assert_eq!(bench.memory.pending_uploads(), 0);
    let other = Bench::new();
    other.faults.fail_next(Some(Operation::PutPart), 1_000, store::fault::When::Before, broken);
    let error = other.ship(&plain(fake.port)).unwrap().shipped.unwrap_err();
    assert_eq!(error.class(), Class::Retriable);
    other.faults.clear();
    other.assert_nothing_kept("an upload that failed for good");
}

#[test]
fn clocks_that_differ_make_a_snapshot_suspect_and_close_the_gate() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    etcd(&fake, &snapshot(&kubernetes()), 2);
    let (_server, store) = skewed();
    let to = etcd_replica::Destination { url: "s3".into(), store: store.clone(), policy: tight() };
    let shipped =
        run(etcd_replica::ship(&plain(fake.port), &[to], &bench.options(), &clock::SystemClock)).unwrap();
    let delivery = &shipped[0];
    assert!(delivery.shipped.as_ref().unwrap().clock_suspect);
    let pruned = delivery.pruned.as_ref().unwrap().as_ref().unwrap();
    assert!(pruned.deleted.is_empty() && !pruned.plan.gates.is_empty(), "{:?}", pruned.plan.gates);
}
