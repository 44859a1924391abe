//! A newest snapshot that is damaged, gone, or that nobody could read back: a choice, never silence.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::NONE;
use crate::scene::Scene;

/// Every damage an object can have: its name, and what becomes of the bytes.
fn damages(whole: &[u8]) -> [(&'static str, Option<Vec<u8>>); 4] {
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 1;
    [
        ("flipped", Some(flipped)),
        ("truncated", Some(whole[..whole.len() - 1].to_vec())),
        ("swapped", Some(b"another object".to_vec())),
        ("missing", None),
    ]
}

fn apply(object: &Path, bytes: Option<Vec<u8>>) {
    match bytes {
        Some(bytes) => fs::write(object, bytes).unwrap(),
        None => fs::remove_file(object).unwrap(),
    }
}

#[test]
fn p2_a_damaged_newest_is_refused_with_the_choice_and_latest_valid_takes_it() {
    let scene = Scene::new().three();
    let key = scene.path("key.txt");
    for suffix in [".db.zst.age", ".manifest.json"] {
        let object = scene.object(12, suffix);
        let whole = fs::read(&object).unwrap();
        for (damage, bytes) in damages(&whole) {
            if suffix == ".manifest.json" && ["flipped", "missing"].contains(&damage) {
                continue; // a flipped letter may be any other manifest; a missing one is no backup, see below
            }
            apply(&object, bytes);
            let out = scene.path(&format!("{damage}{suffix}"));
            scene
                .restore("etcd", &["-o", &out, "--identity", &key])
                .expect(4)
                .says(&["2026-11-20T11:00:00", "--latest-valid"]);
            assert!(!Path::new(&out).exists(), "{damage}");
            let found = scene.restore("verify", &["--identity", &key]);
            found.expect(4).says(&["newest whole snapshot is of 2026-11-20T11:00:00", "--latest-valid"]);
            assert!(found.stdout.contains("DAMAGED"), "{}", found.stdout);
            let taken = scene
                .restore("etcd", &["-o", &out, "--identity", &key, "--latest-valid", "--format", "json"]);
            taken.expect(0);
            assert_eq!(fs::read(&out).unwrap(), scene.files[1], "{damage}");
            let taken: Value = serde_json::from_str(&taken.stdout).unwrap();
            assert_eq!(taken["passed_over"].as_array().unwrap().len(), 1, "{taken}");
        }
        fs::write(&object, whole).unwrap();
    }
    // A snapshot without its manifest is what an unfinished run leaves: no backup, and no damage.
    fs::remove_file(scene.object(12, ".manifest.json")).unwrap();
    let out = scene.path("unfinished.db");
    scene.restore("etcd", &["-o", &out, "--identity", &key]).expect(0);
    assert_eq!(fs::read(&out).unwrap(), scene.files[1]);
    assert_eq!(scene.json("list", NONE)[2]["state"], "partial");
}

#[test]
fn p3_what_nobody_could_read_back_is_proven_by_the_restore_itself() {
    let mut scene = Scene::new();
    let recipient = scene.recipient.clone();
    let sealed = ["--recipient", recipient.as_str()];
    scene.ship("prod", 10, &sealed).expect(0);
    scene.place.server().faults().deny_reads(true);
    let blind = scene.ship("prod", 11, &sealed);
    scene.place.server().faults().deny_reads(false);
    blind.expect(0);
    assert_eq!(scene.json("list", NONE)[1]["state"], "unproven");
    let (key, out) = (scene.path("key.txt"), scene.path("out.db"));
    let older = scene.restore("etcd", &["-o", &out, "--identity", &key]);
    older.expect(0);
    assert!(
        older.stderr.contains("passed over") && older.stderr.contains("read it back"),
        "{}",
        older.stderr
    );
    assert_eq!(fs::read(&out).unwrap(), scene.files[0]);
    scene.restore("etcd", &["-o", &out, "--identity", &key, "--latest-valid", "--force"]).expect(0);
    assert_eq!(fs::read(&out).unwrap(), scene.files[1]);
    scene.restore("verify", &["--record", "--identity", &key]).expect(0);
    assert_eq!(scene.json("list", NONE)[1]["state"], "proven");
}
