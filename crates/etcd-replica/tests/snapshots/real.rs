//! A real etcd: three members with TLS and client certificates, and a drill that starts one more.

use crate::bench::{Bench, etcd_at, run, tls_files};
use crate::drilling::tools;
use etcd_replica::drill::{conclude, drill, pick};
use etcd_replica::proof::Verdict;
use etcd_replica::{Catalogue, Progress, Source, TlsFiles, choose, restore};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use testkit::etcd::{Cluster, program};

pub(crate) const UID: &str = "0c9d51aa-5b1e-4f6e-8a57-70c2c1b2a3d4";

pub(crate) fn source(cluster: &Cluster) -> Source {
    let tls = match (&cluster.pki, &cluster.client) {
        (Some(pki), Some(client)) => tls_files(&pki.ca(), &client.cert, &client.key),
        _ => TlsFiles::default(),
    };
    // One endpoint: the others must be found through it.
    etcd_at(&cluster.endpoints()[..1], tls)
}

pub(crate) fn start(count: usize, tls: bool) -> Option<Cluster> {
    Cluster::start(count, tls).map_err(|why| println!("SKIP: {why}")).ok()
}

#[test]
fn three_members_agree_and_one_that_is_away_is_unknown() {
    let Some(mut cluster) = start(3, true) else { return };
    cluster.fill(UID, 400);
    cluster.settle();
    let bench = Bench::new();
    let manifest = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
    let equal =
        |m: &etcd_replica::Manifest| m.hashkv.members.iter().filter(|h| h.verdict == Verdict::Equal).count();
    assert_eq!((manifest.hashkv.verdict, equal(&manifest)), (Verdict::Equal, 3), "{:?}", manifest.hashkv);
    assert_eq!(manifest.origin.leader, Some(false), "a follower was asked");
    assert_eq!(manifest.kube_system_uid.as_deref(), Some(UID));
    assert_eq!(manifest.resources["secrets"], 400);

    // Live writes while it is taken, and a compaction between two runs.
    let revision = manifest.revision;
    cluster.ctl(&["compaction", &(revision - 5).to_string()], "");
    bench.clock.advance_ms(3_600_000);
    let writing = std::thread::scope(|scope| {
        let writer = scope.spawn(|| cluster.fill(UID, 300));
        let shipped = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
        writer.join().unwrap();
        shipped
    });
    assert!(writing.revision >= revision, "{} {revision}", writing.revision);
    assert_ne!(writing.hashkv.verdict, Verdict::Mismatch, "{:?}", writing.hashkv);

    // A member that is stopped is unknown, and says so; the others still prove the snapshot.
    cluster.stop(2);
    // It may have led: until the others have elected one of them, a run fails and may be repeated.
    cluster.settle();
    bench.clock.advance_ms(3_600_000);
    let alone = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
    assert_eq!((alone.hashkv.verdict, equal(&alone), alone.hashkv.members.len()), (Verdict::Equal, 2, 3));
    // Without a quorum nobody has a leader, and nothing is taken.
    cluster.stop(1);
    bench.clock.advance_ms(3_600_000);
    let mut error = String::new();
    testkit::procs::wait_until(std::time::Duration::from_secs(60), "the quorum is noticed", || {
        match bench.ship(&source(&cluster)) {
            Ok(_) => false,
            Err(found) => {
                error = found.to_string();
                error.contains("no leader")
            }
        }
    });
}

#[test]
fn a_member_that_lags_is_unknown_or_equal_but_never_a_success_by_mistake() {
    let Some(mut cluster) = start(3, false) else { return };
    cluster.fill(UID, 200);
    let bench = Bench::new();
    // Not the leader, or writing would wait for an election; not the first, through which the others are found.
    let lagging = if cluster.leader() == 2 { 1 } else { 2 };
    cluster.signal(lagging, Signal::SIGSTOP);
    cluster.fill(UID, 100);
    let manifest = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
    cluster.signal(lagging, Signal::SIGCONT);
    assert_eq!(manifest.hashkv.verdict, Verdict::Equal);
    let unknown: Vec<_> = manifest.hashkv.members.iter().filter(|m| m.verdict == Verdict::Unknown).collect();
    assert_eq!(unknown.len(), 1, "{:?}", manifest.hashkv);
    assert!(unknown[0].why.is_some());
}

#[test]
fn a_learner_is_not_asked() {
    let Some(mut cluster) = start(1, false) else { return };
    cluster.fill(UID, 20);
    let learner = cluster.add_learner();
    let bench = Bench::new();
    let endpoints = [cluster.members[learner].client.clone()];
    let only_learner = bench.ship(&etcd_at(&endpoints, TlsFiles::default()));
    // A learner may refuse even to say who is there; what it never does is become a backup.
    if let Ok(delivery) = only_learner {
        let manifest = delivery.shipped.unwrap();
        assert!(!manifest.origin.endpoint.contains(&cluster.members[learner].client));
    }
    bench.clock.advance_ms(3_600_000);
    let manifest = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
    assert_eq!(manifest.hashkv.members.len(), 1, "learners do not vote: {:?}", manifest.hashkv);
}

#[test]
fn p1_what_is_shipped_is_restored_bit_for_bit_and_drilled_with_a_real_etcd() {
    let Some(cluster) = start(1, false) else { return };
    cluster.fill(UID, 300);
    let (name, sealed) = k3s_bootstrap("s3cret");
    cluster.put(&[(format!("/bootstrap/{name}"), sealed)]);
    cluster.ctl(&["del", "--prefix", "/registry/secrets/default/s0000"], "");
    let mut bench = Bench::new();
    bench.token = Some(etcd_replica::Token::parse("K10aa::server:s3cret", "test").unwrap());
    let first = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
    assert_eq!((first.hashkv.verdict, first.token_opens), (Verdict::Equal, Some(true)));
    cluster.ctl(&["compaction", &first.revision.to_string()], "");
    cluster.fill(UID, 30);
    bench.clock.advance_ms(3_600_000);
    let second = bench.ship(&source(&cluster)).unwrap().shipped.unwrap();
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    let item = choose(&catalogue, None).unwrap();
    assert_eq!(item.name.revision, second.revision);
    let file = bench.dir.path().join("restored.db");
    let manifest =
        run(restore(&bench.store, item, Some(bench.identities.clone()), &file, false, &Progress::default()))
            .unwrap();
    let printed: serde_json::Value = serde_json::from_str(&Cluster::snapshot_status(&file)).unwrap();
    assert_eq!(format!("{:08x}", printed["hash"].as_u64().unwrap()), manifest.status_hash);

    // The first of all its starts finds a port taken.
    let dir = tempfile::tempdir().unwrap();
    let pass_on = |program: PathBuf| format!("exec '{}' \"$@\"", program.display());
    let restorer = pass_on(program("etcdutl").or_else(|| program("etcdctl")).unwrap());
    let once = r#"mkdir "${0%/*}/tried" 2>/dev/null && { echo 'address already in use' >&2; exit 1; };"#;
    let etcd = format!("{once} {}", pass_on(program("etcd").unwrap()));
    let tools = tools(dir.path(), &restorer, &etcd);
    let picked = pick(&catalogue, &clock::SeededIds::new(4)).unwrap();
    assert_eq!(picked.len(), 2, "the newest and an older one");
    let mut drilled = Vec::new();
    for item in picked {
        let one = run(drill(
            &bench.store,
            item,
            Some(bench.identities.clone()),
            &tools,
            bench.dir.path(),
            true,
            &*bench.clock,
        ));
        drilled.push(one.unwrap());
    }
    for one in &drilled {
        assert_eq!(one.failed, None, "{one:?}");
        assert!(one.checks.iter().any(|check| check.contains("HashKV")), "{one:?}");
        assert!(one.checks.iter().any(|check| check.contains("token")), "{one:?}");
    }
    run(conclude(&bench.store, "prod", &drilled, &*bench.clock));
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert!(catalogue.items.iter().all(|item| item.is_drilled() && item.level() == 5));
    let samples = run(etcd_replica::exporter::look(&bench.store, "x")).unwrap();
    assert!(samples.iter().any(|s| s.row.name == "highwater_drill_last_result" && s.value == 1.0));

    // A manifest that says more than the snapshot holds: only the drill's comparison and the proof can tell.
    let mut lying = catalogue.items[1].clone();
    lying.manifest.as_mut().unwrap().keys += 1;
    let failed = run(drill(
        &bench.store,
        &lying,
        Some(bench.identities.clone()),
        &tools,
        bench.dir.path(),
        true,
        &*bench.clock,
    ));
    assert!(failed.unwrap().failed.is_some());
    let left: Vec<_> = std::fs::read_dir(bench.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == ".etcd-shipper.lock" || name == "restored.db"), "{left:?}");
}

/// Bootstrap data as K3s keeps it, for a password.
pub(crate) fn k3s_bootstrap(password: &str) -> (String, String) {
    use base64::Engine;
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use sha2::Digest;
    let salt = "00112233445566aa";
    let mut key = [0; 32];
    let rounds = std::num::NonZeroU32::new(4_096).unwrap();
    let algorithm = ring::pbkdf2::PBKDF2_HMAC_SHA1;
    ring::pbkdf2::derive(algorithm, rounds, salt.as_bytes(), password.as_bytes(), &mut key);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let mut data = b"the CA keys".to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key([7; 12]), Aad::empty(), &mut data).unwrap();
    let packed = base64::prelude::BASE64_STANDARD.encode([&[7; 12][..], &data].concat());
    (hex::encode(sha2::Sha256::digest(password))[..12].to_owned(), format!("{salt}:{packed}"))
}
