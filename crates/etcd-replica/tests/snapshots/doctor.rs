//! What `doctor` says about a source or a destination that cannot work: the file, the port, the role, the permission or the clock, by name.

use crate::bench::{Bench, etcd_at, patient, plain, run, skewed, tls_files};
use crate::fake::{Answer, Fake, Tls, etcd, one};
use crate::talos::{node, nodes};
use etcd_replica::{FileSource, Source, TalosSource, TlsFiles, doctor};
use store::Operation;
use testkit::bolt::{bytes_field, kubernetes, number_field, snapshot};
use testkit::pki::{Pki, Validity};

/// The first finding that is wrong, as it is printed.
#[track_caller]
fn wrong(source: &Source) -> String {
    let findings = run(doctor::source(source));
    let first = findings.iter().find(|finding| !finding.ok);
    let first = first.unwrap_or_else(|| panic!("nothing is wrong: {findings:?}"));
    assert!(!first.says.contains('\n'), "{first:?}");
    format!("{}: {}", first.what, first.says)
}

#[track_caller]
fn says(found: &str, signs: &[&str]) {
    for sign in signs {
        assert!(found.contains(sign), "{sign:?} is not in: {found}");
    }
}

/// The status of a member, as the fake of a healthy one gives it but for these fields.
fn status(leader: u64, learner: bool, errors: &str) -> Answer {
    let header = bytes_field(1, &[number_field(1, 77), number_field(2, 5), number_field(3, 2)].concat());
    let mut status =
        [header, bytes_field(2, b"3.5.99"), number_field(4, leader), number_field(7, 1000)].concat();
    if !errors.is_empty() {
        status.extend(bytes_field(8, errors.as_bytes()));
    }
    status.extend(number_field(10, u64::from(learner)));
    one(status)
}

#[test]
fn the_file_that_is_missing_or_is_no_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (pki, at) = (Pki::new(dir.path(), "etcd"), |name: &str| dir.path().join(name));
    let client = pki.issue("client", &["localhost"], Validity::Now);
    let url = ["https://127.0.0.1:1".to_owned()];
    let none = etcd_at(&url, tls_files(&at("none.crt"), &client.cert, &client.key));
    says(&wrong(&none), &["certificates: ", "none.crt", "is the host path mounted"]);
    std::fs::write(at("text.crt"), "no certificate").unwrap();
    let text = etcd_at(&url, tls_files(&at("text.crt"), &client.cert, &client.key));
    says(&wrong(&text), &["certificates: ", "--cacert", "holds no PEM certificate"]);
    let swapped = etcd_at(&url, tls_files(&pki.ca(), &client.key, &client.cert));
    says(&wrong(&swapped), &["certificates: ", "the client certificate holds no PEM certificate"]);
    let half = TlsFiles { key: None, ..tls_files(&pki.ca(), &client.cert, &client.key) };
    says(&wrong(&etcd_at(&url, half)), &["certificates: ", "--cert and --key belong together"]);
    let file = Source::File(FileSource { path: at("none.db"), taken_ms: None });
    says(&wrong(&file), &["file: ", "none.db"]);
    let talos = Source::Talos(TalosSource { talosconfig: at("none"), limits: patient() });
    says(&wrong(&talos), &["Talos API: ", "none"]);
}

#[test]
fn the_port_and_the_authority_that_are_wrong_are_named() {
    let (dir, file) = (tempfile::tempdir().unwrap(), snapshot(&kubernetes()));
    let names = ["localhost", "127.0.0.1"];
    let (pki, stranger) = (Pki::new(dir.path(), "etcd"), Pki::new(dir.path(), "stranger"));
    let (server, client) =
        (pki.issue("server", &names, Validity::Now), pki.issue("client", &names, Validity::Now));
    let nobody = format!("http://127.0.0.1:{}", testkit::procs::free_port());
    let found = wrong(&etcd_at(std::slice::from_ref(&nobody), TlsFiles::default()));
    says(&found, &[&format!("endpoint {nobody}: "), "nothing listens there"]);
    let ca = pki.ca();
    let fake = Fake::start(Some(Tls { ca: &ca, cert: &server.cert, key: &server.key }));
    etcd(&fake, &file, 2);
    let url = [format!("https://127.0.0.1:{}", fake.port)];
    let good = tls_files(&ca, &client.cert, &client.key);
    let findings = run(doctor::source(&etcd_at(&url, good.clone())));
    assert!(findings.iter().all(|finding| finding.ok), "{findings:?}");
    let alien = tls_files(&stranger.ca(), &client.cert, &client.key);
    says(&wrong(&etcd_at(&url, alien)), &["endpoint https://", "--cacert is not the authority"]);
    // One good and one bad endpoint: the good one does not hide the other.
    let both = [url[0].clone(), "https://127.0.0.1:1".to_owned()];
    says(&wrong(&etcd_at(&both, good)), &["endpoint https://127.0.0.1:1: ", "nothing listens there"]);
}

#[test]
fn the_role_that_a_member_has_is_named() {
    let (fake, file) = (Fake::start(None), snapshot(&kubernetes()));
    etcd(&fake, &file, 2);
    let asked = "/etcdserverpb.Maintenance/Status";
    for (answer, sign) in [
        (status(5, true, ""), "is a learner"),
        (status(0, false, ""), "has no leader"),
        (status(5, false, "memberID:5 alarm:CORRUPT"), "states an error"),
        (Answer::Error(12, "unknown service etcdserverpb.Maintenance".into()), "this K3s uses SQLite"),
    ] {
        fake.on(asked, answer);
        says(&wrong(&plain(fake.port)), &["endpoint http://127.0.0.1:", sign]);
    }
    // Out of quota is told when asked for alarms, and is a reason to take a backup.
    fake.on(asked, status(5, false, "memberID:5 alarm:NOSPACE "));
    let findings = run(doctor::source(&plain(fake.port)));
    assert!(findings.iter().all(|finding| finding.ok), "{findings:?}");
    fake.on("/etcdserverpb.KV/Range", Answer::Error(7, "etcdserver: permission denied".into()));
    says(&wrong(&plain(fake.port)), &["endpoint http://127.0.0.1:", "permission denied"]);

    let nodes = nodes(1);
    node(&nodes.fakes[0], &file, 7, false);
    let findings = run(doctor::source(&nodes.source("PRIVATE KEY")));
    assert!(findings.iter().all(|finding| finding.ok), "{findings:?}");
    nodes.fakes[0].on("/machine.MachineService/EtcdStatus", Answer::Error(7, "not authorized".into()));
    says(&wrong(&nodes.source("PRIVATE KEY")), &["Talos API: ", "os:etcd:backup"]);
}

#[test]
fn the_destination_the_spool_and_the_clock_are_looked_at() {
    let bench = Bench::new();
    let look = || run(doctor::destination("memory://test", &bench.store, "prod", &*bench.clock));
    assert!(look().iter().all(|finding| finding.ok), "{:?}", look());
    bench.faults.deny(Operation::List, true);
    let findings = look();
    assert!(findings.len() == 1 && findings[0].what.starts_with("destination"), "{findings:?}");
    bench.faults.clear();
    bench.faults.deny(Operation::List, false);
    let spool = doctor::spool_dir(&bench.dir.path().join("none"));
    assert!(!spool.ok && spool.what.contains("none"), "{spool:?}");
    assert!(doctor::spool_dir(bench.dir.path()).ok);

    let (_server, store) = skewed();
    let findings = run(doctor::destination("s3", &store, "prod", &clock::SystemClock));
    let clock = findings.iter().find(|finding| finding.what == "clock").unwrap();
    assert!(!clock.ok && clock.says.contains("set the time"), "{findings:?}");
}
