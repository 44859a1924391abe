//! Everything a server, a disk or an operator can get wrong: a clear error, its class, and nothing kept.

use crate::bench::{Bench, NOW, etcd_at, plain, run, tls_files};
use crate::fake::{Answer, Fake, Step, Tls, etcd, etcd_stream, hash};
use etcd_replica::proof::Verdict;
use etcd_replica::{
    Catalogue, Class, EtcdSource, FileSource, Limits, Progress, Source, TlsFiles, choose, passed_over,
    promising, record, restore, survey,
};
use seal::Identities;
use std::sync::Arc;
use std::time::Duration;
use testkit::bolt::{kubernetes, snapshot};
use testkit::pki::{Pki, Validity};

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";

#[track_caller]
fn refused(bench: &Bench, source: &Source, what: &str, class: Class, sign: &str) {
    let error = bench.ship(source).map(|d| d.shipped.map(|_| ())).expect_err(what);
    assert_eq!(error.class(), class, "{what}: {error}");
    assert!(error.to_string().contains(sign), "{what}: {error}");
    assert!(!error.to_string().contains('\n'), "{what}: one line");
    bench.assert_nothing_kept(what);
}

#[test]
fn p2_a_stream_cut_at_any_boundary_is_no_backup() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    let body = file.len() - 32;
    for (what, length) in [
        ("nothing at all", 0),
        ("inside the first page header", 10),
        ("the first page", 4096),
        ("a page boundary", 2 * 4096),
        ("a page boundary and 32 bytes, which passes etcd's own rule", 2 * 4096 + 32),
        ("inside a page", 3 * 4096 + 700),
        ("the whole body without its checksum", body),
        ("half of the checksum", body + 16),
    ] {
        let steps = if length == 0 {
            Vec::new()
        } else {
            file[..length].chunks(1000).map(|c| Step::Message(testkit::bolt::bytes_field(3, c))).collect()
        };
        // Ended with OK, as Talos does, and broken off, as a killed server does.
        fake.on(SNAPSHOT, Answer::Stream(steps.clone()));
        refused(&bench, &plain(fake.port), what, Class::Retriable, "nothing was kept");
        fake.on(SNAPSHOT, Answer::Stream([steps, vec![Step::Cut]].concat()));
        // A reset may overtake what was sent before it: then the call itself fails.
        refused(&bench, &plain(fake.port), what, Class::Retriable, "snapshot");
    }
}

#[test]
fn p2_a_flipped_bit_anywhere_is_no_backup() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    let value = file.windows(9).position(|window| window == b"value-30-").unwrap();
    for (what, at, sign) in [
        ("a value", value, "SHA-256"),
        ("a page header", 2 * 4096, "SHA-256"),
        ("the trailer", file.len() - 5, "SHA-256"),
        ("the meta page", 18, "not a bbolt file"),
        ("the length in the meta page", 56, "checksum"),
    ] {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        etcd(&fake, &damaged, 2);
        refused(&bench, &plain(fake.port), what, Class::Damaged, sign);
    }
    let behind = [&file[..], b"more"].concat();
    fake.on(SNAPSHOT, Answer::Stream(vec![Step::Message(testkit::bolt::bytes_field(3, &behind))]));
    refused(&bench, &plain(fake.port), "bytes behind the trailer", Class::Damaged, "more bytes");
}

#[test]
fn p7_endless_empty_messages_and_stalled_streams_end_by_themselves() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    let within = |idle, total| {
        let endpoints = vec![format!("http://127.0.0.1:{}", fake.port)];
        Source::Etcd(EtcdSource { endpoints, tls: TlsFiles::default(), limits: Limits { idle, total } })
    };
    let half = etcd_stream(&file)[..1].to_vec();
    let idle = within(Duration::from_millis(300), Duration::from_secs(60));
    for (what, step) in [("empty messages", Step::EmptyForEver), ("a stall", Step::Stall)] {
        fake.on(SNAPSHOT, Answer::Stream(vec![step.clone()]));
        refused(&bench, &idle, what, Class::Retriable, "no new byte");
        fake.on(SNAPSHOT, Answer::Stream([half.clone(), vec![step]].concat()));
        refused(&bench, &idle, what, Class::Retriable, "no new byte");
    }
    let total = within(Duration::from_secs(60), Duration::from_millis(200));
    refused(&bench, &total, "longer than allowed", Class::Retriable, "took longer");
}

#[test]
fn a_sqlite_k3s_is_recognised_and_explained() {
    let (bench, fake) = (Bench::new(), Fake::start(None));
    fake.on(
        "/etcdserverpb.Maintenance/Status",
        Answer::Error(12, "unknown service etcdserverpb.Maintenance".into()),
    );
    refused(&bench, &plain(fake.port), "kine", Class::Refused, "this K3s uses SQLite");
}

#[test]
fn p2_a_member_that_answers_with_old_data_is_refused() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 5_000);
    refused(&bench, &plain(fake.port), "old data", Class::Retriable, "answers with old data");
}

#[test]
fn certificates_that_cannot_work_are_named() {
    let (bench, file) = (Bench::new(), snapshot(&kubernetes()));
    let dir = bench.dir.path().join("pki");
    std::fs::create_dir(&dir).unwrap();
    let (pki, stranger) = (Pki::new(&dir, "etcd"), Pki::new(&dir, "stranger"));
    let names = ["localhost", "127.0.0.1"];
    let issue = |name, validity| pki.issue(name, &names, validity);
    let (good, server) = (issue("good", Validity::Now), issue("server", Validity::Now));
    let (old_client, old_server) = (issue("old", Validity::Expired), issue("old-server", Validity::Expired));
    let alien = stranger.issue("alien", &names, Validity::Now);
    let ca = pki.ca();
    let attempt =
        |cert: &testkit::pki::Certificate, serving: &testkit::pki::Certificate, trusted: &std::path::Path| {
            let fake = Fake::start(Some(Tls { ca: &ca, cert: &serving.cert, key: &serving.key }));
            etcd(&fake, &file, 2);
            let url = format!("https://127.0.0.1:{}", fake.port);
            let error = bench.ship(&etcd_at(&[url], tls_files(trusted, &cert.cert, &cert.key)));
            error.map(|_| ()).unwrap_err().to_string()
        };
    for (what, error, sign) in [
        ("our certificate expired", attempt(&old_client, &server, &ca), "expired"),
        (
            "the server's certificate expired",
            attempt(&good, &old_server, &ca),
            "the server's certificate has expired",
        ),
        ("our certificate is of another authority", attempt(&alien, &server, &ca), "authority"),
        (
            "the server is of another authority",
            attempt(&good, &server, &stranger.ca()),
            "--cacert is not the authority",
        ),
    ] {
        assert!(error.contains(sign), "{what}: {error}");
        assert!(!error.contains('\n'), "{what}: {error}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
    bench.assert_nothing_kept("certificates");
    let missing = tls_files(&dir.join("none"), &good.cert, &good.key);
    refused(
        &bench,
        &etcd_at(&["https://127.0.0.1:1".into()], missing),
        "no file",
        Class::Usage,
        "is the host path mounted",
    );
    let clear = etcd_at(&["http://10.1.2.3:2379".into()], TlsFiles::default());
    refused(&bench, &clear, "secrets in the clear", Class::Usage, "in the clear");
    let nobody = etcd_at(&[format!("http://127.0.0.1:{}", testkit::procs::free_port())], TlsFiles::default());
    refused(&bench, &nobody, "nobody listens", Class::Retriable, "nothing listens there");
}

#[test]
fn p3_a_snapshot_that_differs_from_its_member_is_kept_and_stops_retention() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    fake.on("/etcdserverpb.Maintenance/HashKV", hash(12_345, -1));
    let delivery = bench.ship(&plain(fake.port)).unwrap();
    let manifest = delivery.shipped.unwrap();
    assert_eq!(manifest.hashkv.verdict, Verdict::Mismatch);
    assert!(delivery.pruned.is_none(), "retention did not run");
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert!(catalogue.items[0].is_failed() && !catalogue.items[0].is_verified());
    assert_eq!(choose(&catalogue, None).unwrap_err().class(), Class::Damaged);
    // Newer than a good one, it is no reason to take the older one in silence; and a look from outside says the same, whole as it is.
    let good = Bench::new();
    fake.on("/etcdserverpb.Maintenance/HashKV", Answer::Error(11, "compacted".into()));
    good.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    good.clock.advance_ms(3_600_000);
    fake.on("/etcdserverpb.Maintenance/HashKV", hash(12_345, -1));
    good.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    let catalogue = run(Catalogue::load(&good.store, "prod")).unwrap();
    let chosen = choose(&catalogue, None).unwrap();
    assert_eq!(chosen.name, catalogue.items[0].name);
    let newer = passed_over(&catalogue, chosen, None);
    assert!(newer.len() == 1 && newer[0].damaged && newer[0].why.contains("HashKV"), "{newer:?}");
    assert_eq!(passed_over(&catalogue, chosen, Some(chosen.name.taken)), [], "it was not asked for");
    assert!(promising(&catalogue, None).iter().all(|item| item.name == chosen.name));
    let found =
        run(survey(&good.store, &catalogue, false, Some(good.identities.clone()), good.dir.path())).unwrap();
    assert_eq!((found.ok, found.findings.len(), &found.provable), (false, 1, &Some(chosen.name.to_string())));
    let before = good.keys();
    run(record(&good.store, &catalogue, &found, &*good.clock)).unwrap();
    let written: Vec<String> = good.keys().into_iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(written, [format!("{}.proof.json", chosen.name)], "the manifest of the other one says enough");
}

#[test]
fn p6_an_unknown_hash_is_unknown() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    let manifest = bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    assert_eq!(manifest.hashkv.verdict, Verdict::Unknown);
    assert!(manifest.hashkv.members[0].why.as_deref().unwrap().contains("compacted"));
    assert_eq!((manifest.level, manifest.read_back), (4, true));
}

#[test]
fn p2_wrong_keys_and_damaged_objects_restore_nothing() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    let manifest = bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    let item = choose(&catalogue, None).unwrap();
    let output = bench.dir.path().join("out.db");
    let other = age::x25519::Identity::generate().to_string();
    let other = Identities::parse(age::secrecy::ExposeSecret::expose_secret(&other), "other").unwrap();
    let wrong = run(restore(&bench.store, item, Some(Arc::new(other)), &output, false, &Progress::default()))
        .unwrap_err();
    assert_eq!(wrong.class(), Class::Refused, "{wrong}");
    let none = run(restore(&bench.store, item, None, &output, false, &Progress::default())).unwrap_err();
    assert!(none.to_string().contains("--identity"), "{none}");
    let back = || {
        let identities = Some(bench.identities.clone());
        run(restore(&bench.store, item, identities, &output, false, &Progress::default()))
    };
    back().unwrap();
    assert_eq!(std::fs::read(&output).unwrap(), file, "bit for bit, trailer included");
    let again = back().unwrap_err();
    assert!(again.to_string().contains("--force"), "{again}");
    std::fs::remove_file(&output).unwrap();
    for at in [0, 100, manifest.stored_bytes as usize / 2, manifest.stored_bytes as usize - 1] {
        assert!(bench.memory.corrupt(&manifest.object, at));
        let error = back().unwrap_err();
        assert_eq!(error.class(), Class::Damaged, "byte {at}: {error}");
        let verified =
            run(etcd_replica::verify(&bench.store, item, None, bench.dir.path(), &*bench.clock)).unwrap();
        assert!(verified.failed.unwrap().contains("is not what was stored"));
        assert!(bench.memory.corrupt(&manifest.object, at), "and back");
        assert!(!output.exists() && std::fs::read_dir(bench.dir.path()).unwrap().count() == 1);
    }
    let failed = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert!(failed.newest_verified(None).is_none(), "what verify refused is no restore point");
    let right = run(etcd_replica::verify(
        &bench.store,
        item,
        Some(bench.identities.clone()),
        bench.dir.path(),
        &*bench.clock,
    ));
    assert_eq!(right.unwrap().failed, None);
    let proven = run(Catalogue::load(&bench.store, "prod")).unwrap();
    assert!(proven.newest_verified(None).is_some());
}

#[test]
fn two_jobs_at_once_are_told_apart() {
    let (bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    let lock = std::fs::File::create(bench.dir.path().join(".etcd-shipper.lock")).unwrap();
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    refused(&bench, &plain(fake.port), "the same spool", Class::Fenced, "another etcd-shipper");
    drop(held);
    bench.ship(&plain(fake.port)).unwrap().shipped.unwrap();
    // The same snapshot of the same second from another node: its name is taken.
    let again = bench.ship(&plain(fake.port)).unwrap().shipped;
    // The first of a day is there now, so the second one has another slot and stands beside it.
    assert!(again.is_ok());
    let third = bench.ship(&plain(fake.port)).unwrap().shipped.unwrap_err();
    assert_eq!(third.class(), Class::Fenced, "{third}");
}

#[test]
fn p7_a_spool_in_memory_is_refused() {
    let disk = match testkit::diskfull::SmallDisk::mount(1 << 20) {
        Ok(disk) => disk,
        Err(why) => return println!("SKIP: {why}"),
    };
    let (mut bench, fake, file) = (Bench::new(), Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    bench.dir = tempfile::tempdir_in(disk.path()).unwrap();
    refused(&bench, &plain(fake.port), "tmpfs", Class::Usage, "is a tmpfs");
}

#[test]
fn files_and_k3s_zips_are_adopted_only_when_they_say_when_they_are_from() {
    let (bench, file) = (Bench::new(), snapshot(&kubernetes()));
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let source = |path, taken_ms| Source::File(FileSource { path, taken_ms });
    let raw = write("snapshot.db", &file);
    refused(&bench, &source(raw.clone(), None), "no time", Class::Usage, "--taken-at");
    refused(&bench, &source(raw.clone(), Some(NOW + 1)), "the future", Class::Usage, "from the future");
    let half = write("etcd-snapshot-n1-1795260000", &file[..2 * 4096 + 32]);
    refused(&bench, &source(half, None), "half a file", Class::Damaged, "ended after");
    let empty = write("etcd-snapshot-n1-1795260001", b"");
    refused(&bench, &source(empty, None), "0 bytes", Class::Damaged, "ended after 0 bytes");
    let zipped = zip(&file, 1);
    let zip_path = write("etcd-snapshot-n1-1795260002.zip", &zipped);
    let manifest = bench.ship(&source(zip_path, None)).unwrap().shipped.unwrap();
    assert_eq!((manifest.taken_at.as_str(), manifest.revision), ("2026-11-21T11:20:02Z", 62));
    assert!(manifest.origin.kind == "file" && manifest.hashkv.verdict == Verdict::Unknown);
    // Without its trailer it is shipped with one.
    let bare = write("etcd-snapshot-n1-1795260003", &file[..file.len() - 32]);
    assert!(bench.ship(&source(bare, None)).unwrap().shipped.unwrap().trailer_added);
    let catalogue = run(Catalogue::load(&bench.store, "prod")).unwrap();
    let output = dir.path().join("out.db");
    run(restore(
        &bench.store,
        &catalogue.items[1],
        Some(bench.identities.clone()),
        &output,
        false,
        &Progress::default(),
    ))
    .unwrap();
    assert_eq!(std::fs::read(&output).unwrap(), file);

    let other = Bench::new();
    let mut cut = zipped.clone();
    cut.truncate(zipped.len() / 2);
    refused(
        &other,
        &source(write("z-n-1795260004.zip", &cut), None),
        "half a zip",
        Class::Damaged,
        "truncated",
    );
    refused(
        &other,
        &source(write("z-n-1795260005.zip", &zip(&file, 2)), None),
        "two members",
        Class::Refused,
        "2 members",
    );
    let mut flipped = zipped;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    let error = other.ship(&source(write("z-n-1795260006.zip", &flipped), None)).map(|_| ()).unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "{error}");
    other.assert_nothing_kept("a flipped bit in a zip");
}

/// A zip as Go writes it: deflate, sizes behind the data.
pub(crate) fn zip(data: &[u8], members: u16) -> Vec<u8> {
    use std::io::Write;
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    deflated.write_all(data).unwrap();
    let deflated = deflated.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(data);
    let sizes = [crc.sum(), deflated.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
    let name = b"etcd-snapshot-n1";
    let name_length = (name.len() as u16).to_le_bytes();
    let mut out =
        [&b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0"[..], &[0; 12], &name_length, &[0, 0], name].concat();
    out.extend(deflated);
    out.extend([&b"PK\x07\x08"[..], &sizes].concat());
    let central = out.len() as u32;
    out.extend(
        [
            &b"PK\x01\x02\x14\0\x14\0\x08\0\x08\0\0\0\0\0"[..],
            &sizes,
            &name_length,
            &[0; 12],
            &0u32.to_le_bytes(),
            name,
        ]
        .concat(),
    );
    let length = out.len() as u32 - central;
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &members.to_le_bytes(), &members.to_le_bytes()].concat());
    out.extend([length.to_le_bytes(), central.to_le_bytes()].concat());
    out.extend([0, 0]);
    out
}
