//! Objects that somebody made on purpose: whoever may put one must not be able to hide, fill or end anything with it.

use crate::bad_input::zip;
use crate::bench::{Bench, plain, run};
use crate::fake::{Fake, etcd};
use crate::keeping::options;
use bytes::Bytes;
use etcd_replica::layout::Part;
use etcd_replica::retention::State;
use etcd_replica::{
    Catalogue, Class, FileSource, Progress, Source, choose, exporter, passed_over, plan_prune, restore, ship,
};
use seal::{Options, PlainWriter, Protection};
use sha2::{Digest, Sha256};
use store::{ObjectStore, PutOptions};
use testkit::bolt::{kubernetes, snapshot};

const LARGE: usize = 5 << 20;

#[test]
fn p6_an_object_that_is_too_large_hides_no_snapshot() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    etcd(&fake, &snapshot(&kubernetes()), 2);
    bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    let good = run(Catalogue::load(&bench.store, "prod")).unwrap().items.remove(0).name;
    let large = Bytes::from(vec![b' '; LARGE]);
    let put = |key: &str| run(bench.store.put(key, large.clone(), &PutOptions::overwrite())).unwrap();
    for (hours, part) in [(1, Part::Manifest), (2, Part::Proof)] {
        let mut name = good.clone();
        name.taken += hours * 3_600;
        put(&name.key(part));
    }
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    let chosen = choose(&catalogue, None).unwrap();
    assert_eq!((&chosen.name, catalogue.items.len()), (&good, 3));
    let newer = passed_over(&catalogue, chosen, None);
    assert!(
        newer.len() == 2 && newer.iter().all(|one| one.damaged && one.why.contains("bytes")),
        "{newer:?}"
    );
    let (plan, _) =
        run(plan_prune(&bench.store, "prod", &options(bench.policy.clone()), &*bench.clock)).unwrap();
    let states: Vec<State> = plan.rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [State::Verified, State::Failed, State::Failed]);

    // Nor do they end the exporter: it counts them.
    put("other/highwater/status.json");
    put("prod/_result.json");
    let odd = "odd//highwater/drill.json";
    run(bench.memory.put(odd, Bytes::from_static(b"{}"), &PutOptions::create())).unwrap();
    let samples = run(exporter::look(&bench.store, "memory://test")).unwrap();
    let value = |name: &str| samples.iter().find(|sample| sample.row.name == name).map(|sample| sample.value);
    assert_eq!(value("highwater_etcd_snapshot_count"), Some(1.0));
    assert_eq!(value("highwater_etcd_snapshot_last_success_timestamp_seconds"), Some(good.taken as f64));
    assert_eq!(value(telemetry::names::EXPORTER_UNREADABLE.name), Some(3.0));
    // The next run replaces its own.
    bench.clock.advance_ms(3_600_000);
    bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    assert!(run(etcd_replica::result::last_run(&bench.store, "prod")).unwrap().is_some());
}

#[test]
fn p7_what_unfolds_to_more_than_its_manifest_says_is_not_written() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    etcd(&fake, &snapshot(&kubernetes()), 2);
    let options = etcd_replica::ShipOptions { protection: Protection::Plain, ..bench.options() };
    let shipped = run(ship(&plain(fake.port), &[bench.to()], &options, &*bench.clock)).unwrap().remove(0);
    let mut manifest = shipped.shipped.unwrap();
    let mut writer = PlainWriter::new(Vec::new(), Options::default()).unwrap();
    for _ in 0..64 {
        writer.data(&[0; 1 << 20]).unwrap();
    }
    let bomb = writer.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    manifest.body_bytes = 4_096;
    manifest.stored_bytes = bomb.len() as u64;
    manifest.stored_sha256 = hex::encode(Sha256::digest(&bomb));
    let name = run(Catalogue::load(&bench.store, "prod")).unwrap().items.remove(0).name;
    let body = Bytes::from(serde_json::to_vec(&manifest).unwrap());
    for (key, body) in [(manifest.object.clone(), Bytes::from(bomb)), (name.key(Part::Manifest), body)] {
        run(bench.store.put(&key, body, &PutOptions::overwrite())).unwrap();
    }
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    let item = choose(&catalogue, None).unwrap();
    // Where it can be had, a disk that is too small for what comes out: it is never filled.
    let disk = testkit::diskfull::SmallDisk::mount(1 << 20);
    let dir = disk.as_ref().map_or(bench.dir.path(), |disk| disk.path());
    let output = dir.join("out.db");
    let error = run(restore(&bench.store, item, None, &output, false, &Progress::default())).unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "{error}");
    assert!(error.to_string().contains("holds more than the 4128 bytes"), "{error}");
    assert!(!output.exists());
}

#[test]
fn p2_a_zip_whose_lengths_have_no_sum_is_no_backup() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let mut zipped = zip(&snapshot(&kubernetes()), 1);
    // Name and extra field of the member's own header.
    zipped[26..30].fill(0xFF);
    let path = dir.path().join("etcd-snapshot-n1-1795260002.zip");
    std::fs::write(&path, zipped).unwrap();
    let error = bench.ship(&Source::File(FileSource { path, taken_ms: None })).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("incomplete"), "{error}");
    bench.assert_nothing_kept("a zip");
}
