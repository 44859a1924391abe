//! A faithful fake of the four calls of the Talos machine API: client certificates, 1 KiB at a time, failures that end with OK.

use crate::bench::{Bench, patient};
use crate::fake::{Answer, Fake, Step, Tls, one};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use etcd_replica::proof::Verdict;
use etcd_replica::{Class, Source, TalosSource};
use std::path::Path;
use testkit::bolt::{bytes_field, kubernetes, number_field, snapshot};
use testkit::pki::{Certificate, Pki, Validity};

const SNAPSHOT: &str = "/machine.MachineService/EtcdSnapshot";

fn chunks(file: &[u8]) -> Vec<Step> {
    file.chunks(1024).map(|chunk| Step::Message(bytes_field(2, chunk))).collect()
}

pub(crate) fn node(fake: &Fake, file: &[u8], member: u64, learner: bool) {
    let metadata = bytes_field(1, &bytes_field(1, format!("node-{member}").as_bytes()));
    let status = [
        number_field(4, 1),
        number_field(7, 500),
        number_field(9, u64::from(learner)),
        number_field(10, member),
    ]
    .concat();
    let status = [metadata.clone(), bytes_field(2, &status)].concat();
    let listed = [number_field(2, member), bytes_field(3, format!("node-{member}").as_bytes())].concat();
    let members = [metadata.clone(), bytes_field(3, &listed)].concat();
    fake.on("/machine.MachineService/EtcdStatus", one(bytes_field(1, &status)))
        .on("/machine.MachineService/EtcdMemberList", one(bytes_field(1, &members)))
        .on("/machine.MachineService/EtcdAlarmList", one(bytes_field(1, &metadata)))
        .on(SNAPSHOT, Answer::Stream(chunks(file)));
}

fn talosconfig(path: &Path, ports: &[u16], pki: &Pki, client: &Certificate, label: &str) {
    let packed = |path: &Path| BASE64_STANDARD.encode(std::fs::read(path).unwrap());
    let key = String::from_utf8(std::fs::read(&client.key).unwrap()).unwrap().replace("PRIVATE KEY", label);
    let endpoints: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let text = format!(
        "context: home\ncontexts:\n  home:\n    endpoints: [{}]\n    ca: {}\n    crt: {}\n    key: {}\n",
        endpoints.join(", "),
        packed(&pki.ca()),
        packed(&client.cert),
        BASE64_STANDARD.encode(key)
    );
    std::fs::write(path, text).unwrap();
}

pub(crate) struct Nodes {
    pub(crate) fakes: Vec<Fake>,
    pki: Pki,
    client: Certificate,
    dir: tempfile::TempDir,
}

pub(crate) fn nodes(count: usize) -> Nodes {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path(), "talos");
    let names = ["localhost", "127.0.0.1"];
    let server = pki.issue("server", &names, Validity::Now);
    let client = pki.issue("client", &names, Validity::Now);
    let start = || Fake::start(Some(Tls { ca: &pki.ca(), cert: &server.cert, key: &server.key }));
    Nodes { fakes: (0..count).map(|_| start()).collect(), client, dir, pki }
}

impl Nodes {
    pub(crate) fn source(&self, label: &str) -> Source {
        let path = self.dir.path().join("talosconfig");
        let ports: Vec<u16> = self.fakes.iter().map(|fake| fake.port).collect();
        talosconfig(&path, &ports, &self.pki, &self.client, label);
        Source::Talos(TalosSource { talosconfig: path, limits: patient() })
    }
}

#[test]
fn a_follower_of_a_talos_cluster_is_backed_up() {
    let (bench, nodes, file) = (Bench::new(), nodes(3), snapshot(&kubernetes()));
    for (index, fake) in nodes.fakes.iter().enumerate() {
        node(fake, &file, index as u64 + 1, index == 2);
    }
    // Talos labels its keys ED25519; the label is put right whatever the key inside is.
    let manifest = bench.ship(&nodes.source("ED25519 PRIVATE KEY")).unwrap().shipped.unwrap();
    assert_eq!(manifest.origin.kind, "talos");
    assert_eq!(
        manifest.origin.member_name.as_deref(),
        Some("node-2"),
        "the leader and the learner were spared"
    );
    assert_eq!(manifest.hashkv.verdict, Verdict::Unknown);
    assert!(manifest.hashkv.members[0].why.as_deref().unwrap().contains("no HashKV"));
    assert_eq!((manifest.level, manifest.origin.leader), (4, Some(false)));
    let asked = |fake: &Fake| fake.seen.lock().unwrap().iter().any(|call| call == SNAPSHOT);
    assert_eq!(nodes.fakes.iter().map(asked).collect::<Vec<_>>(), [false, true, false]);
    let steps = etcd_replica::steps(&manifest, Path::new("s.db"));
    assert!(
        steps.contains("machine secrets") && steps.contains("talosctl bootstrap --recover-from=s.db"),
        "{steps}"
    );
}

#[test]
fn p2_a_failed_talos_stream_that_ends_with_ok_is_no_backup() {
    let (bench, nodes, file) = (Bench::new(), nodes(1), snapshot(&kubernetes()));
    for length in [0, 1024, 2 * 4096 + 32, file.len() - 32, file.len() - 1] {
        node(&nodes.fakes[0], &file, 1, false);
        nodes.fakes[0].on(SNAPSHOT, Answer::Stream(chunks(&file[..length])));
        let error = bench.ship(&nodes.source("PRIVATE KEY")).map(|_| ()).unwrap_err();
        assert_eq!(error.class(), Class::Retriable, "{length}: {error}");
        assert!(error.to_string().contains("nothing was kept"), "{length}: {error}");
        bench.assert_nothing_kept("a failed stream");
    }
}

#[test]
fn roles_and_learners_are_explained() {
    let (bench, nodes, file) = (Bench::new(), nodes(1), snapshot(&kubernetes()));
    node(&nodes.fakes[0], &file, 7, true);
    let error = bench.ship(&nodes.source("PRIVATE KEY")).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("is a learner"), "{error}");
    nodes.fakes[0].on("/machine.MachineService/EtcdStatus", Answer::Error(7, "not authorized".into()));
    let error = bench.ship(&nodes.source("PRIVATE KEY")).map(|_| ()).unwrap_err();
    assert_eq!(error.class(), Class::Usage);
    assert!(error.to_string().contains("os:etcd:backup"), "{error}");
    bench.assert_nothing_kept("roles");
}
