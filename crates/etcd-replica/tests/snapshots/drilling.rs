//! What condemns a snapshot, and what does not: retention deletes condemned ones after a while, so a machine in trouble must not condemn (P3).

use crate::bench::{Bench, plain, run};
use crate::fake::{Fake, etcd};
use bytes::Bytes;
use etcd_replica::drill::{Drilled, Tools, conclude, drill};
use etcd_replica::layout::Part;
use etcd_replica::{Catalogue, Item, verify};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use store::{ObjectMeta, Operation, PutOptions};
use testkit::bolt::{kubernetes, snapshot};

/// A sealed snapshot that a drill has restored before.
fn drilled(bench: &Bench) -> Item {
    let fake = Fake::start(None);
    etcd(&fake, &snapshot(&kubernetes()), 2);
    bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    let proof = r#"{"format":1,"level":5,"failed":null,"by":"drill","at":"2026-11-21T14:20:00Z"}"#;
    let item = the_only(bench);
    run(bench.store.put(&item.name.key(Part::Proof), Bytes::from(proof), &PutOptions::create())).unwrap();
    the_only(bench)
}

fn the_only(bench: &Bench) -> Item {
    let mut catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert_eq!(catalogue.items.len(), 1);
    catalogue.items.remove(0)
}

fn proof(bench: &Bench, item: &Item) -> Bytes {
    run(bench.store.get_bytes(&item.name.key(Part::Proof), None)).unwrap()
}

/// Tools that are scripts. A shell writes them: what is open for writing here is open in every process that another
/// test is just starting, too, and cannot be executed.
pub(crate) fn tools(dir: &Path, etcdutl: &str, etcd: &str) -> Tools {
    for (name, script) in [("etcdutl", etcdutl), ("etcd", etcd)] {
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 755 "$2""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", write, "sh", script]).arg(dir.join(name));
        assert!(shell.status().unwrap().success());
    }
    Tools::find(Some(dir)).unwrap()
}

async fn try_out(bench: &Bench, item: &Item, tools: &Tools) -> Drilled {
    let identities = Some(bench.identities.clone());
    let clock = &*bench.clock;
    drill(&bench.store, item, identities, tools, bench.dir.path(), true, clock).await.unwrap()
}

/// One bad transfer: the first reading of the object is damaged, and no later one.
async fn with_one_bad_reading<T>(bench: &Bench, object: &ObjectMeta, work: impl Future<Output = T>) -> T {
    // Behind the header, where it cannot look like somebody else's object.
    let (key, at) = (&object.key, object.size as usize - 100);
    assert!(bench.memory.corrupt(key, at));
    bench.faults.take_log();
    // Every request lets the other half of this have its turn before it reaches the store.
    bench.faults.latency(Duration::from_millis(1));
    let is_read =
        || bench.faults.log().iter().any(|call| call.operation == Operation::Get && call.key == *key);
    let mend = async {
        while !is_read() {
            tokio::task::yield_now().await;
        }
        assert!(bench.memory.corrupt(key, at));
    };
    let (done, ()) = tokio::join!(work, mend);
    bench.faults.latency(Duration::ZERO);
    done
}

#[test]
fn p3_a_drill_that_fails_on_its_machine_condemns_nothing() {
    let bench = Bench::new();
    let item = drilled(&bench);
    let before = proof(&bench, &item);
    let dir = tempfile::tempdir().unwrap();
    let full = "echo 'Error: write data/member/snap/db: no space left on device' >&2; exit 1";
    for (what, etcdutl, etcd, sign) in [
        ("a full scratch", full, "exit 0", "no space left on device"),
        ("no memory for the tool", "kill -9 $$", "exit 0", "SIGKILL"),
        ("no memory for etcd", "exit 0", "kill -9 $$", "SIGKILL"),
        ("a port that is taken", "exit 0", "echo 'address already in use' >&2; exit 1", "already in use"),
    ] {
        let one = run(try_out(&bench, &item, &tools(dir.path(), etcdutl, etcd)));
        assert!(one.failed.as_ref().unwrap().contains(sign), "{what}: {one:?}");
        assert_eq!(proof(&bench, &item), before, "{what}");
        // It is told all the same.
        run(conclude(&bench.store, "prod", &[one], &*bench.clock));
        let told = run(bench.store.get_bytes("prod/highwater/drill.json", None)).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["drill"]["result"], "failed", "{what}");
        let now = the_only(&bench);
        assert!(now.is_verified() && now.is_drilled() && now.level() == 5, "{what}");
    }
}

/// Until etcd has its ports, anybody else may take them.
#[test]
fn an_etcd_that_ends_before_it_serves_is_started_again_on_other_ports() {
    let bench = Bench::new();
    let item = drilled(&bench);
    let dir = tempfile::tempdir().unwrap();
    let taken = r#"echo "$6 ${10}" >> "${0%/*}/starts"; echo 'address already in use' >&2; exit 1"#;
    let one = run(try_out(&bench, &item, &tools(dir.path(), "exit 0", taken)));
    assert!(one.failed.as_ref().unwrap().contains("already in use"), "{one:?}");
    let starts = std::fs::read_to_string(dir.path().join("starts")).unwrap();
    let two = |line: &str| line.split_once(' ').is_some_and(|(client, peer)| client != peer);
    assert!(starts.lines().count() == 3 && starts.lines().all(two), "{starts}");
    assert_eq!(starts.matches("http://127.0.0.1:").count(), 6, "{starts}");
}

#[test]
fn p3_one_bad_transfer_condemns_nothing() {
    let bench = Bench::new();
    let item = drilled(&bench);
    let before = proof(&bench, &item);
    let object = item.payload.clone().unwrap();
    for identities in [None, Some(bench.identities.clone())] {
        let work = verify(&bench.store, &item, identities, bench.dir.path(), &*bench.clock);
        let found = run(with_one_bad_reading(&bench, &object, work)).unwrap();
        assert_eq!(found.failed, None);
        assert!(the_only(&bench).is_drilled(), "and the drill is not forgotten");
    }
    run(bench.store.put(&item.name.key(Part::Proof), before.clone(), &PutOptions::overwrite())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tools = tools(dir.path(), "echo 'no room' >&2; exit 1", "exit 0");
    let one = run(with_one_bad_reading(&bench, &object, try_out(&bench, &item, &tools)));
    assert!(one.failed.as_ref().unwrap().contains("no room"), "the second one came further: {one:?}");
    assert_eq!(proof(&bench, &item), before);
}

#[test]
fn p3_a_damaged_object_is_condemned_and_keeps_the_date_of_that() {
    let bench = Bench::new();
    let item = drilled(&bench);
    let object = item.manifest.as_ref().unwrap().object.clone();
    assert!(bench.memory.corrupt(&object, 100));
    let dir = tempfile::tempdir().unwrap();
    let one = run(try_out(&bench, &item, &tools(dir.path(), "exit 1", "exit 1")));
    assert!(one.failed.as_ref().unwrap().contains("damaged"), "{one:?}");
    let condemned = the_only(&bench);
    assert!(condemned.is_failed() && !condemned.is_verified());
    let (before, at) = (proof(&bench, &item), condemned.modified_ms);
    bench.clock.advance_ms(86_400_000);
    let again = run(verify(&bench.store, &condemned, None, bench.dir.path(), &*bench.clock)).unwrap();
    assert!(again.failed.is_some());
    assert_eq!((proof(&bench, &item), the_only(&bench).modified_ms), (before, at));
    // Who finds it whole again says so.
    assert!(bench.memory.corrupt(&object, 100));
    let whole = run(verify(&bench.store, &condemned, None, bench.dir.path(), &*bench.clock)).unwrap();
    assert!(whole.failed.is_none() && the_only(&bench).is_verified());
}
