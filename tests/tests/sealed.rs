//! Sealed replicas through the doors: what the pod writes with public keys, what comes back with the identity, what is said without it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use e2e::{Outcome, Place, Streamer, Volume, fold, run};
use rusqlite::Connection;
use serde_json::Value;

/// A key pair of this run: the identity, and its recipient.
fn pair() -> (String, String) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
}

static OURS: LazyLock<(String, String)> = LazyLock::new(pair);
static OTHER: LazyLock<(String, String)> = LazyLock::new(pair);
static NOBODYS: LazyLock<(String, String)> = LazyLock::new(pair);

/// Stands in the database, and in no object.
const CANARY: &str = "the canary sings in plain text";
const FAST: &[&str] = &["--sync-interval", "20ms"];
/// Arguments that seal for two.
static SEALED: LazyLock<[&str; 6]> =
    LazyLock::new(|| ["--sync-interval", "20ms", "--recipient", &OURS.1, "--recipient", &OTHER.1]);

/// A volume whose database knows the canary, and files of keys beside it.
struct Scene {
    place: Place,
    volume: Volume,
    keys: tempfile::TempDir,
}

impl Scene {
    fn new(place: Place) -> Scene {
        let (volume, keys) = (Volume::new(), tempfile::tempdir().unwrap());
        fs::write(keys.path().join("id.txt"), format!("# a comment\n{}\n", OURS.0)).unwrap();
        fs::write(keys.path().join("other.txt"), &OTHER.0).unwrap();
        fs::write(keys.path().join("stranger.txt"), &NOBODYS.0).unwrap();
        let scene = Scene { place, volume, keys };
        scene.sing(5);
        scene
    }

    fn key(&self, name: &str) -> String {
        self.keys.path().join(name).display().to_string()
    }

    /// So many transactions, each with the canary in an incompressible row.
    fn sing(&self, times: u32) {
        let db = Connection::open(self.volume.db()).unwrap();
        db.busy_timeout(e2e::PATIENCE).unwrap();
        db.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(x)").unwrap();
        for _ in 0..times {
            db.execute("INSERT INTO t VALUES(?1 || randomblob(700))", [CANARY]).unwrap();
        }
    }

    fn once(&self, more: &[&str]) -> Outcome {
        Streamer::once(&self.place, "p", &self.volume.db(), more)
    }

    fn restore(&self, name: &str, more: &[&str]) -> (Outcome, PathBuf) {
        let out = self.volume.file(name);
        let outcome = self.place.restore("p", &out, &[&["--force", "--integrity", "full"], more].concat());
        (outcome, out)
    }

    /// Restores with an identity, and compares byte for byte; no application may run.
    #[track_caller]
    fn expect_all_back(&self, identity: &str) {
        let (outcome, out) = self.restore("restored.db", &["--identity", &self.key(identity)]);
        outcome.expect(0);
        assert!(outcome.stdout.contains("proven by its rolling checksum"), "{}", outcome.stdout);
        fold(&self.volume.db());
        assert!(fs::read(self.volume.db()).unwrap() == fs::read(&out).unwrap(), "not the same bytes");
    }

    /// No object of the bucket holds the canary, and what is not sealed has no pages.
    #[track_caller]
    fn no_object_tells(&self) {
        let objects = self.place.objects("p");
        assert!(objects.len() > 3, "{:?}", objects.keys());
        for (path, bytes) in objects {
            let told = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            assert!(!told, "{} tells what is in the database", path.display());
            let clear = bytes.len() == 131 || path.components().any(|c| c.as_os_str() == "highwater");
            let sealed = bytes.starts_with(b"age-encryption.org/v1\n");
            // The embedded server keeps the metadata of an object beside it.
            let beside = path.extension().is_none_or(|extension| extension != "ltx");
            assert!(clear || sealed || beside, "{} is not sealed", path.display());
        }
    }

    fn verb(&self, verb: &str, more: &[&str]) -> Outcome {
        let mut command = self.place.command("restore");
        command.arg(verb).arg(self.place.url("p")).args(more);
        run(command)
    }
}

#[test]
fn p1_p8_a_sealed_replica_comes_back_bit_for_bit_and_tells_nothing() {
    for place in [Place::s3(), Place::directory()] {
        let scene = Scene::new(place);
        let mut streamer = Streamer::start(&scene.place, "p", &scene.volume.db(), &*SEALED);
        let mut durable = streamer.wait_beyond(0);
        for _ in 0..5 {
            scene.sing(3);
            durable = streamer.wait_beyond(durable);
        }
        streamer.drain();
        scene.no_object_tells();
        // Either recipient opens it, an identity of nobody does not.
        for identity in ["id.txt", "other.txt"] {
            scene.expect_all_back(identity);
        }
        scene
            .restore("no.db", &["--identity", &scene.key("stranger.txt")])
            .0
            .expect(3)
            .says(&["none of the 1 identities"]);
    }
}

#[test]
fn p4_a_killed_sidecar_goes_on_with_public_keys_only() {
    for place in [Place::s3(), Place::directory()] {
        let scene = Scene::new(place);
        let mut streamer = Streamer::start(&scene.place, "p", &scene.volume.db(), &*SEALED);
        let mut durable = streamer.wait_beyond(0);
        for round in 0..4 {
            scene.sing(2);
            if round % 2 == 0 {
                durable = streamer.wait_beyond(durable);
            }
            streamer.proc.kill9();
            streamer = Streamer::start(&scene.place, "p", &scene.volume.db(), &*SEALED).following();
        }
        scene.sing(1);
        streamer.wait_beyond(durable);
        streamer.drain();
        let images: Vec<_> = scene
            .place
            .objects("p")
            .into_keys()
            .filter(|p| p.to_string_lossy().contains("/images/"))
            .collect();
        assert!(images.is_empty(), "it went on from its record, without an image: {images:?}");
        scene.no_object_tells();
        scene.expect_all_back("id.txt");
    }
}

#[test]
fn p4_of_two_sealed_writers_the_loser_collides() {
    let scene = Scene::new(Place::s3());
    scene.once(&*SEALED).expect(0);
    let second = scene.volume.copy();
    let mut first = Streamer::start(&scene.place, "p", &scene.volume.db(), &*SEALED).following();
    // A copy of the volume does not know of the claim: it is behind, and says so.
    Streamer::once(&scene.place, "p", &second.db(), &*SEALED).expect(3).says(&["ahead of this volume"]);
    let mut adopting =
        Streamer::start(&scene.place, "p", &second.db(), &[&SEALED[..], &["--adopt"]].concat()).following();
    adopting.wait_beyond(0);
    scene.sing(1);
    assert_eq!(first.proc.expect_exit(e2e::PATIENCE), 5, "{}", first.proc.log_tail());
    adopting.drain();
    scene.no_object_tells();
    scene.restore("restored.db", &["--identity", &scene.key("id.txt")]).0.expect(0);
}

#[test]
fn sealed_and_plain_never_mix_in_one_replica() {
    let scene = Scene::new(Place::s3());
    scene.once(&*SEALED).expect(0);
    let before = scene.place.objects("p");
    for adopt in [&[][..], &["--adopt"]] {
        scene.once(&[FAST, adopt].concat()).expect(3).says(&["written sealed", "no recipient"]);
    }
    assert_eq!(scene.place.objects("p"), before, "nothing was written");

    let plain = Scene::new(Place::s3());
    plain.once(FAST).expect(0);
    let before = plain.place.objects("p");
    for adopt in [&[][..], &["--adopt"]] {
        plain
            .once(&[&SEALED[..], adopt].concat())
            .expect(3)
            .says(&["in plain text", "a recipient is configured"]);
    }
    assert_eq!(plain.place.objects("p"), before, "nothing was written");
    // What cannot seal is refused before anything begins, and a secret key is never taken for a recipient.
    plain.once(&["--recipient", "age1nobody"]).expect(2);
    let leaked = plain.once(&["--recipient", &OURS.0]);
    leaked.expect(2).says(&["secret key"]);
    assert!(!leaked.stderr.contains(&OURS.0), "and never repeated");
}

#[test]
fn without_the_identity_the_verbs_say_what_they_can() {
    let scene = Scene::new(Place::s3());
    scene.once(&*SEALED).expect(0);
    scene.sing(2);
    scene.once(&*SEALED).expect(0);
    let before = scene.place.objects("p");
    let id = scene.key("id.txt");
    let (refused, out) = scene.restore("no.db", &[]);
    refused.expect(3).says(&["is sealed", "--identity"]);
    assert!(!out.exists());
    scene.restore("no.db", &["--identity", "/nowhere"]).0.expect(2).says(&["/nowhere"]);

    let looked = scene.verb("verify", &["--all"]);
    looked.expect(0);
    assert!(looked.stdout.starts_with("sealed, not opened"), "{}", looked.stdout);
    let looked = scene.verb("verify", &["-o", "json"]);
    let json: Value = serde_json::from_str(&looked.stdout).unwrap();
    assert_eq!(
        (&json["how"], &json["proven"], &json["provable"]),
        (&"sealed".into(), &false.into(), &Value::Null)
    );
    scene.verb("verify", &["--record"]).expect(3);
    scene.verb("verify", &["--full"]).expect(3);
    scene.verb("drill", &[]).expect(3).says(&["--identity"]);
    assert_eq!(scene.place.objects("p"), before, "nothing was written");
    assert!(scene.place.points("p").iter().all(|point| point["sealed"] == true));
    scene.verb("list", &["--exact"]).expect(0);

    let looked = scene.verb("verify", &["--full", "--record", "--identity", &id]);
    looked.expect(0);
    assert!(looked.stdout.contains("proven by its rolling checksum"), "{}", looked.stdout);
    scene.verb("drill", &["--identity", &id]).expect(0);

    // What may be deleted is known by names and proofs: no key either.
    let mut prune = scene.place.command("wal-streamer");
    prune.args(["prune", &scene.place.url("p"), "--keep", "all=7d"]);
    let plan = run(prune);
    plan.expect(0);
    assert!(plan.stdout.contains("nothing was deleted"), "{}", plan.stdout);

    // `restore unlock` needs no key, and what it leaves can be restored.
    scene.verb("unlock", &["--force"]).expect(0);
    scene.expect_all_back("id.txt");
}

/// Too large to be staged: the image is sealed while it is read, sent in parts, and opened in one stream.
#[test]
fn p7_a_large_image_is_sealed_in_a_stream() {
    let scene = Scene::new(Place::s3());
    let db = Connection::open(scene.volume.db()).unwrap();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)";
    db.execute_batch(&format!("{rows} INSERT INTO t SELECT randomblob(900) FROM n")).unwrap();
    drop(db);
    scene.once(&*SEALED).expect(0);
    let staged = scene.volume.path().join(".highwater/app.db/staged.ltx");
    assert!(fs::metadata(staged).map_or(0, |meta| meta.len()) < 1 << 20, "the image was not staged");
    scene.sing(3);
    scene.once(&*SEALED).expect(0);
    scene.no_object_tells();
    scene.expect_all_back("id.txt");
    // A bit in the middle, or a cut: damage is named, nothing takes the place of the database.
    let key = scene.place.root("p").join("0009/0000000000000001-0000000000000001.ltx");
    let whole = fs::read(&key).unwrap();
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 1;
    for damaged in [bent, whole[..whole.len() / 2].to_vec()] {
        fs::write(&key, damaged).unwrap();
        let (outcome, out) = scene.restore("no.db", &["--identity", &scene.key("id.txt")]);
        outcome.expect(4).says(&["0009/0000000000000001-0000000000000001.ltx"]);
        assert!(!out.exists());
    }
}

/// A pod: its init container with and without the identity, its sidecar with neither.
#[test]
fn p6_a_pod_needs_the_identity_only_where_data_has_to_come_back() {
    let scene = Scene::new(Place::s3());
    let pod = tempfile::tempdir().unwrap();
    let description = |recipients: &str| {
        let path = pod.path().join("protect.yaml");
        let text = format!(
            "app: web\ncluster: home\nreplica: '{}'\nroot: {}\nencrypt: {{ recipients: [{recipients}] }}\ndatabases: [{{path: app.db}}]\n",
            scene.place.url("web"),
            scene.volume.path().display()
        );
        fs::write(&path, text).unwrap();
        path
    };
    let config = description(&OURS.1);
    let init = |identity: Option<&str>| {
        let mut command = scene.place.command("restore");
        command.arg("init").arg("--config").arg(&config).arg("--run-dir").arg(pod.path().join("run"));
        if let Some(identity) = identity {
            command.env("HIGHWATER_IDENTITY_FILE", scene.key(identity));
        }
        run(command)
    };
    let lose_the_volume = || {
        for entry in fs::read_dir(scene.volume.path()).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    };
    init(None).expect(0);
    let ship = || {
        let streamer = Streamer::with(&scene.place, &["--once", "--config", config.to_str().unwrap()], &[]);
        let mut proc = streamer.proc;
        assert_eq!(proc.expect_exit(e2e::PATIENCE), 0, "{}", proc.log_tail());
    };
    ship();
    scene.sing(2);
    ship();
    // Healthy data: the identity is nowhere, or named and not mounted.
    init(None).expect(0);
    init(Some("not-mounted.txt")).expect(0);
    let known = fs::read(scene.volume.db()).unwrap();
    fold(&scene.volume.db());
    let before_loss = fs::read(scene.volume.db()).unwrap();
    assert!(before_loss.len() >= known.len());
    ship();
    lose_the_volume();
    let before = scene.place.objects("web");
    init(None).expect(3).says(&["is sealed", "HIGHWATER_IDENTITY_FILE"]);
    init(Some("stranger.txt")).expect(3).says(&["none of the 1 identities"]);
    assert_eq!(scene.place.objects("web"), before, "nothing was claimed");
    assert!(!scene.volume.db().exists());
    init(Some("id.txt")).expect(0);
    assert!(fs::read(scene.volume.db()).unwrap() == before_loss, "not the same bytes");
    // And on it goes, with public keys.
    scene.sing(1);
    ship();
    let told = scene
        .place
        .objects("web")
        .into_values()
        .any(|bytes| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
    assert!(!told);
    let unsealed = pod.path().join("plain.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &unsealed,
        text.lines().filter(|l| !l.starts_with("encrypt")).map(|l| format!("{l}\n")).collect::<String>(),
    )
    .unwrap();
    let mut command = scene.place.command("restore");
    command.arg("init").arg("--config").arg(&unsealed).arg("--run-dir").arg(pod.path().join("run"));
    run(command).expect(3).says(&["written sealed"]);
}

/// With the programs everybody has: `age`, `zstd`, and for increments a page of Python.
#[test]
fn p8_age_and_zstd_open_what_the_bucket_holds() {
    let missing: Vec<_> = ["age", "zstd", "python3"].into_iter().filter(|tool| !is_there(tool)).collect();
    if !missing.is_empty() {
        println!("SKIP opening a sealed replica by hand: {missing:?} not installed");
        return;
    }
    let scene = Scene::new(Place::s3());
    fold(&scene.volume.db());
    let image = fs::read(scene.volume.db()).unwrap();
    scene.once(&*SEALED).expect(0);
    let root = scene.place.root("p");
    let snapshot = root.join("0009/0000000000000001-0000000000000001.ltx");
    let shell = |script: &str| {
        let output = Command::new("sh").arg("-ec").arg(script).current_dir(&root).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let by_hand = shell(&format!("age -d -i {} {} | zstd -d -q", scene.key("id.txt"), snapshot.display()));
    assert!(by_hand == image, "the data of a snapshot is the database");
    assert!(
        shell(&format!("head -2 {}", snapshot.display()))
            .starts_with(b"age-encryption.org/v1\n-> highwater-ltx 1 4096 ")
    );

    for _ in 0..3 {
        scene.sing(4);
        scene.once(&*SEALED).expect(0);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats/apply-sealed.py");
    let out = scene.volume.file("by-hand.db");
    let id = scene.key("id.txt");
    shell(&format!("python3 {} {id} {} {} 0000/*.ltx", script.display(), out.display(), snapshot.display()));
    fold(&scene.volume.db());
    assert!(fs::read(&out).unwrap() == fs::read(scene.volume.db()).unwrap(), "not the same bytes");
}

fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

/// An operator with the identity restores in place; the sidecar, which can open nothing, goes on from that, also when its application
/// was quicker.
#[test]
fn p3_a_sealed_database_restored_in_place_goes_on_with_public_keys_only() {
    let scene = Scene::new(Place::s3());
    let (db, id, out) = (scene.volume.db(), scene.key("id.txt"), scene.volume.file("restored.db"));
    Streamer::once(&scene.place, "p", &db, &*SEALED).expect(0);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(scene.volume.file(&format!("app.db{suffix}")));
    }
    fs::remove_dir_all(scene.volume.file(".highwater")).unwrap();
    scene.place.restore("p", &db, &["--identity", &id]).expect(0);
    Streamer::once(&scene.place, "p", &db, &*SEALED).expect(0);
    for quicker in [0, 3] {
        scene.place.restore("p", &db, &["--identity", &id, "--force"]).expect(0);
        scene.sing(quicker);
        Streamer::once(&scene.place, "p", &db, &*SEALED).expect(0);
        scene.place.restore("p", &out, &["--identity", &id, "--force"]).expect(0);
        fold(&db);
        assert!(fs::read(&db).unwrap() == fs::read(&out).unwrap());
    }
}
