//! Proofs against files and answers of a real etcd.

use super::content::prove_within;
use super::*;
use crate::Error;
use crate::source::Etcd;
use crate::source::connect::{Connection, TlsFiles};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::path::Path;
use testkit::etcd::Cluster;

const UID: &str = "7d1c0b6e-21ab-4c93-9d1f-5a5f3c8a9b01";

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A filled cluster with deletions, several versions of a key and a compaction, and its snapshot in memory.
fn snapshot(cluster: &Cluster) -> Vec<u8> {
    cluster.fill(UID, 1_500);
    cluster.fill(UID, 300);
    cluster.ctl(&["del", "--prefix", "/registry/secrets/default/s0001"], "");
    let path = cluster.dir().join("snapshot.db");
    cluster.snapshot(&path);
    std::fs::read(path).unwrap()
}

fn status(bytes: &[u8], dir: &Path) -> serde_json::Value {
    let path = dir.join("status.db");
    std::fs::write(&path, bytes).unwrap();
    serde_json::from_str(&Cluster::snapshot_status(&path)).unwrap()
}

fn check(bytes: &Vec<u8>) -> crate::Result<Content> {
    let shape = Shape::of(bytes)?;
    check_digest(bytes, &shape)?;
    prove(bytes, &shape, &[])
}

#[test]
fn p2_the_proof_agrees_with_etcds_own_tools_and_with_the_live_server() {
    let cluster = match Cluster::start(1, false) {
        Ok(cluster) => cluster,
        Err(why) => return println!("SKIP: {why}"),
    };
    let bytes = snapshot(&cluster);
    let content = check(&bytes).unwrap();
    let shape = Shape::of(&bytes).unwrap();
    assert!(shape.trailer && shape.from_rpc && shape.body + TRAILER == bytes.len() as u64);
    let printed = status(&bytes, cluster.dir());
    assert_eq!(printed["hash"], content.status_hash, "{printed}");
    assert_eq!(printed["revision"], content.revision);
    let total = printed["totalKey"].as_u64().unwrap();
    assert!(total == content.entries || total == content.keys, "{printed} beside {content:?}");
    assert_eq!(printed["totalSize"], shape.body);
    assert_eq!(content.kube_system_uid.as_deref(), Some(UID));
    assert_eq!(content.resources["namespaces"], 1);
    assert_eq!(content.resources["configmaps"], 500);
    assert_eq!(content.resources["cilium.io/ciliumnodes"], 150);
    assert_eq!(content.resources["secrets"], 1_490, "ten were deleted");
    assert_eq!(content.keys, 1 + 500 + 150 + 1_490);

    // HashKV: never compacted, compacted below, compacted exactly at a deletion.
    let endpoint = cluster.endpoints().remove(0);
    let compare = |bytes: &Vec<u8>, what: &str| {
        let shape = Shape::of(bytes).unwrap();
        let content = prove(bytes, &shape, &[]).unwrap();
        let answer = run(async {
            let etcd = Etcd { connection: Connection::open(&endpoint, None).await.unwrap() };
            etcd.hash_kv(content.revision).await.unwrap()
        });
        let compacted = [answer.compact_revision];
        let ours = prove(bytes, &shape, &compacted).unwrap().hashes;
        assert_eq!(ours[&answer.compact_revision], answer.hash, "{what}: {answer:?}");
        // The same with a tiny map: several passes give the same bits.
        let small = prove_within(bytes, &shape, &compacted, 100).unwrap();
        assert_eq!(small.hashes, ours);
        assert_eq!((small.keys, &small.resources), (content.keys, &content.resources));
    };
    compare(&bytes, "never compacted");
    // The last revision is a deletion: compacting exactly there is the case that versions once disagreed about.
    for at in [5, content.revision - 1, content.revision] {
        cluster.ctl(&["compaction", "--physical", &at.to_string()], "");
        if at < content.revision {
            compare(&bytes, "the server was compacted after the snapshot");
        } else {
            cluster.ctl(&["put", "/registry/leases/one", "more"], "");
        }
        let path = cluster.dir().join("later.db");
        let _ = std::fs::remove_file(&path);
        cluster.snapshot(&path);
        compare(&std::fs::read(path).unwrap(), "compacted snapshot");
    }
}

/// Where a byte lies: inside the value that holds this text.
fn find(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|window| window == text).expect("the text is there")
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] ^= 0x04;
    changed
}

/// Which check refuses these bytes, and what it says. `fits`: whoever damaged them made a new SHA-256 as well, as a corrupt member does.
fn detected(bytes: &[u8], fits: bool, sound: &Content) -> Option<(&'static str, String)> {
    let mut bytes = bytes.to_vec();
    if fits {
        let body = bytes.len() - TRAILER as usize;
        let digest: [u8; 32] = Sha256::digest(&bytes[..body]).into();
        bytes[body..].copy_from_slice(&digest);
    }
    let shape = match Shape::of(&bytes) {
        Ok(shape) => shape,
        Err(error) => return Some(("meta page and length", damage(error))),
    };
    if let Err(error) = check_digest(&bytes, &shape) {
        return Some(("SHA-256", damage(error)));
    }
    let content = match prove(&bytes, &shape, &[-1]) {
        Ok(content) => content,
        Err(error) => return Some(("structure", damage(error))),
    };
    (content.hashes != sound.hashes && content.status_hash != sound.status_hash)
        .then(|| ("HashKV of a live member", "the hashes differ".to_owned()))
}

fn damage(error: Error) -> String {
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    error.to_string()
}

/// Prints the table that docs/testing.md shows.
#[test]
fn p2_every_planted_corruption_is_found() {
    let cluster = match Cluster::start(1, false) {
        Ok(cluster) => cluster,
        Err(why) => return println!("SKIP: {why}"),
    };
    let good = snapshot(&cluster);
    check(&good).unwrap();
    let sound = prove(&good, &Shape::of(&good).unwrap(), &[-1]).unwrap();
    assert_eq!(detected(&good, true, &sound), None);
    let found = |what: &str, bytes: &[u8], fits: bool, by: &str, sign: &str| {
        let (check, said) = detected(bytes, fits, &sound).unwrap_or_else(|| panic!("{what} was not found"));
        assert!(check == by && said.contains(sign), "{what}: {check}: {said}");
        println!("| {what} | {check} |");
    };
    let (page, body) = (4096, good.len() - 32);
    for (what, length) in [
        ("cut to nothing", 0),
        ("cut to half a page", 2048),
        ("cut to one page", page),
        ("cut inside a page", body / 2 / page * page + 100),
        ("cut inside its checksum", body + 16),
        ("one page short, with a checksum's length", body - page + 32),
    ] {
        found(what, &good[..length], false, "meta page and length", "");
    }
    for at in (page..body).step_by(page) {
        for length in [at, at + 32] {
            assert_eq!(
                detected(&good[..length], false, &sound).unwrap().0,
                "meta page and length",
                "{length}"
            );
        }
    }
    println!("| cut at any page boundary | meta page and length |");
    println!(
        "| cut at any page boundary and 32 bytes, which passes etcd's own rule | meta page and length |"
    );
    let behind = [&good[..], &[0; 32]].concat();
    found("something behind it", &behind, false, "meta page and length", "something is behind it");
    let value = find(&good, b"value-700-");
    for (what, at, by, sign) in [
        ("a flipped bit in a value", value, "SHA-256", "SHA-256"),
        ("a flipped bit in a page header", 5 * page, "SHA-256", "SHA-256"),
        ("a flipped bit in its checksum", body + 7, "SHA-256", "SHA-256"),
        ("a flipped bit in a meta page", 17, "meta page and length", "magic"),
        ("a flipped bit in the root that a meta page names", 33, "meta page and length", "checksum"),
    ] {
        found(what, &flipped(&good, at), false, by, sign);
    }

    // Damage that the digest cannot see, because it was there when the digest was made.
    let leaf = value / page * page;
    let forged = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = good.clone();
        change(&mut bytes[leaf..]);
        bytes
    };
    let element = |bytes: &[u8], index: usize| bytes[16 + index * 16..32 + index * 16].to_vec();
    for (what, bytes, sign) in [
        ("a page in another page's place", forged(&|page| page[0] ^= 1), "says that it is page"),
        ("a free page in the tree", forged(&|page| page[8] = 0x10), "of kind"),
        ("a meta page in the tree", forged(&|page| page[8] = 4), "of kind"),
        (
            "an element that points out of its page",
            forged(&|page| page[20..24].copy_from_slice(&0xFFFF_FFF0u32.to_le_bytes())),
            "beyond its end",
        ),
        (
            "a key twice",
            forged(&|page| {
                let first = element(page, 0);
                page[32..48].copy_from_slice(&first);
                let pos = u32::from_le_bytes(first[4..8].try_into().unwrap()) - 16;
                page[36..40].copy_from_slice(&pos.to_le_bytes());
            }),
            "not in order",
        ),
        (
            "a page that claims pages behind the end",
            forged(&|page| page[12..16].copy_from_slice(&0x00FF_FFFFu32.to_le_bytes())),
            "further pages",
        ),
        (
            "a row that names no key",
            forged(&|page| {
                let number = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().unwrap()) as usize;
                let value = 16 + number(20) + number(24);
                page[value] = 0x12;
            }),
            "names no key",
        ),
    ] {
        found(&format!("{what}, the checksum fits"), &bytes, true, "structure", sign);
    }
    let other = flipped(&good, value);
    found(
        "a value that differs from the members', the checksum fits",
        &other,
        true,
        "HashKV of a live member",
        "",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// P7: no bytes make the reader panic, loop or allocate by what they say.
    #[test]
    fn p7_hostile_files_are_refused_in_bounded_time(seed in 0u64..10_000, noise in proptest::collection::vec((0usize..12_288, any::<u8>()), 0..24)) {
        let mut file = hostile(seed);
        for (at, byte) in noise {
            let at = at % file.len();
            if !(16..80).contains(&at) {
                file[at] = byte;
            }
        }
        if let Ok(shape) = Shape::of(&file) {
            let _ = prove(&file, &shape, &[]);
        }
    }
}

/// Three pages: two valid metas and a root that says what `seed` wants.
fn hostile(seed: u64) -> Vec<u8> {
    let mut file = vec![0u8; 3 * 4096];
    for id in 0..2u64 {
        let at = id as usize * 4096;
        file[at..at + 8].copy_from_slice(&id.to_le_bytes());
        file[at + 8] = 4;
        let meta = at + 16;
        file[meta..meta + 4].copy_from_slice(&0xED0C_DAEDu32.to_le_bytes());
        file[meta + 4] = 2;
        file[meta + 8..meta + 12].copy_from_slice(&4096u32.to_le_bytes());
        file[meta + 16] = 2;
        file[meta + 40] = 3;
        file[meta + 48..meta + 56].copy_from_slice(&(9 - id).to_le_bytes());
        let sum = file[meta..meta + 56].iter().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        file[meta + 56..meta + 64].copy_from_slice(&sum.to_le_bytes());
    }
    let root = 2 * 4096;
    file[root] = 2;
    file[root + 8] = if seed.is_multiple_of(2) { 1 } else { 2 };
    file[root + 10] = (seed % 7) as u8;
    file
}

#[test]
fn a_half_read_certificate_setting_is_refused() {
    let files = TlsFiles { cacert: None, cert: Some("c".into()), key: Some("k".into()) };
    assert!(matches!(files.read(), Err(Error::Usage(_))));
}
