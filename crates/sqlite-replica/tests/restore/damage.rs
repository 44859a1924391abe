//! The damage matrix: each kind of object × missing, cut off, altered, exchanged. `damage.txt` holds what has to come of each.

use crate::scene::{Scene, rows};
use sqlite_replica::{By, Catalogue, Class, Goal, How, Progress, Proven, VerifyOptions, read_header, verify};
use std::io::Cursor;
use std::sync::Arc;
use store::PutOptions;

const TABLE: &str = include_str!("damage.txt");

async fn level0(scene: &Scene) -> Vec<String> {
    let all = scene.store.list_all("").await.unwrap();
    all.into_iter().map(|o| o.key).filter(|k| k.starts_with("0000/")).collect()
}

async fn object(scene: &Scene, kind: &str) -> String {
    let keys = level0(scene).await;
    match kind {
        "image" => "0009/0000000000000001-0000000000000001.ltx".into(),
        "second" => keys[0].clone(),
        // Behind the image a file without pages (TXID 2), then a claim and a sync for each of three further rounds.
        "claim" => keys[3].clone(),
        "sync" => keys[4].clone(),
        "newest" => keys[6].clone(),
        "merged" | "doubled" => MERGED.into(),
        "lineage" => "highwater/lineage.json".into(),
        "owner" => "highwater/owner.json".into(),
        "proven" => "highwater/proven.json".into(),
        other => panic!("{other}"),
    }
}

const MERGED: &str = "0001/0000000000000003-0000000000000006.ltx";

/// A replica with an object of that kind.
async fn replica(kind: &str, sealed: bool) -> Scene {
    let scene = if sealed { Scene::sealed() } else { Scene::new() };
    scene.history(4).await;
    if kind == "merged" || kind == "doubled" {
        merge(&scene, kind == "doubled").await;
    }
    if kind == "proven" {
        let newest = "0000000000000008".parse().unwrap();
        Proven::new(newest, 0, By::Sidecar, How::Bytes).save(&scene.store).await.unwrap();
    }
    scene
}

/// TXIDs 3 to 6 as one file of level 1, as upkeep makes it; its sources go, or stay.
async fn merge(scene: &Scene, keep: bool) {
    let sources = level0(scene).await[1..5].to_vec();
    let mut inputs = Vec::new();
    for key in &sources {
        inputs.push(Cursor::new(scene.store.get_bytes(key, None).await.unwrap()));
    }
    let newest = Catalogue::load(&scene.store).await.unwrap().entries;
    let newest = newest.into_iter().find(|e| e.key == sources[3]).unwrap();
    let header = read_header(&scene.store, &newest).await.unwrap();
    let stamp = ltx::Stamp { node_id: header.node_id, reserved: header.reserved };
    let index = ltx::MemorySpool::default();
    let (merged, ..) = ltx::merge_with(inputs, Vec::new(), ltx::PageEncoding::Frame, stamp, index).unwrap();
    put(scene, MERGED, merged).await;
    if !keep {
        scene.store.delete_all(&sources).await.unwrap();
    }
}

async fn put(scene: &Scene, key: &str, bytes: Vec<u8>) {
    scene.store.put(key, bytes.into(), &PutOptions::overwrite()).await.unwrap();
}

async fn harm(scene: &Scene, kind: &str, key: &str, how: &str) {
    let bytes = scene.store.get_bytes(key, None).await.unwrap().to_vec();
    match how {
        "missing" => scene.store.delete_all(&[key.to_owned()]).await.unwrap(),
        "truncated" => put(scene, key, bytes[..bytes.len() * 2 / 3].to_vec()).await,
        "emptied" => put(scene, key, Vec::new()).await,
        "flipped" => {
            let mut bytes = bytes;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            put(scene, key, bytes).await;
        }
        // An intact object of the same name, from a replica of another database.
        "swapped" => {
            let other = replica(kind, scene.identities.is_some()).await;
            put(scene, key, other.store.get_bytes(key, None).await.unwrap().to_vec()).await;
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn p2_damage_is_named_and_the_newest_provable_point_is_given_back() {
    every_line(false).await;
}

/// The same of a sealed replica, by whoever has the key. Its files are not merged in the store: that takes the key.
#[tokio::test]
async fn p2_damage_of_a_sealed_replica_is_named_as_well() {
    every_line(true).await;
}

async fn every_line(sealed: bool) {
    for line in TABLE.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, how, point] = words[..] else { panic!("{line}") };
        if sealed && (kind == "merged" || kind == "doubled") {
            continue;
        }
        let scene = replica(kind, sealed).await;
        let key = object(&scene, kind).await;
        harm(&scene, kind, &key, how).await;
        let plain = scene.restore(Goal::Newest, false).await;
        let found = verify(&scene.store, &options(&scene), &Arc::new(Progress::default())).await.unwrap();
        let best = scene.restore(Goal::Newest, true).await;
        if point == "harmless" {
            assert_eq!(plain.unwrap().restored.txid, "0000000000000008", "{line}");
            assert!(found.ok, "{line}: {found:?}");
            continue;
        }
        if point == "around" {
            let plain = plain.unwrap();
            assert_eq!((plain.restored.txid.as_str(), plain.damage.len()), ("0000000000000008", 1), "{line}");
            assert_eq!((found.ok, found.provable.as_deref()), (false, Some("0000000000000008")), "{line}");
            assert!(plain.damage[0].key == key && found.findings[0].key == key, "{line}: {found:?}");
            continue;
        }
        // Named, whether a hole or an object; nothing is restored unasked.
        let error = plain.unwrap_err();
        assert_eq!(error.class(), Class::Damaged, "{line}: {error}");
        assert!(!found.ok && !found.findings.is_empty(), "{line}: {found:?}");
        if how != "missing" {
            assert!(error.to_string().contains(&key), "{line}: {error}");
            assert!(found.findings.iter().any(|f| f.key == key), "{line}: {found:?}");
        }
        if point == "nothing" {
            assert_eq!(found.provable, None, "{line}");
            assert_eq!(best.unwrap_err().class(), Class::Damaged, "{line}");
            continue;
        }
        assert_eq!(found.provable.as_deref(), Some(&*format!("{point:0>16}")), "{line}: {found:?}");
        let best = best.unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(best.restored.txid, format!("{point:0>16}"), "{line}");
        assert!(best.restored.proven, "{line}");
        let expected = 20 * (point.parse::<i64>().unwrap() / 2).max(1);
        assert_eq!(rows(&scene.path().join("out.db")), expected, "{line}");
    }
}

/// A chain that merely ends earlier has no gap; what was proven tells that it went on.
#[tokio::test]
async fn p6_an_end_that_was_proven_and_is_gone_is_named() {
    let scene = Scene::new();
    scene.history(4).await;
    let newest = object(&scene, "newest").await;
    harm(&scene, "newest", &newest, "missing").await;
    // Nobody proved anything: nobody can know.
    assert_eq!(scene.restore(Goal::Newest, false).await.unwrap().restored.txid, "0000000000000007");

    let proven = Proven::new("0000000000000008".parse().unwrap(), 0, By::Sidecar, How::Bytes);
    proven.save(&scene.store).await.unwrap();
    for goal in [Goal::Newest, Goal::Time(i64::MAX)] {
        let error = scene.restore(goal, false).await.unwrap_err();
        assert_eq!(error.class(), Class::Damaged, "{error}");
        for part in ["proven up to TXID 0000000000000008", "ends at 0000000000000007", "--latest-valid"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let best = scene.restore(goal, true).await.unwrap();
        assert_eq!(
            (best.restored.txid.as_str(), best.wanted.as_str()),
            ("0000000000000007", "0000000000000008")
        );
        assert_eq!(best.damage.len(), 1, "{:?}", best.damage);
    }
    // A point by name, or before the end, is what it always was.
    let named = scene.restore(Goal::Txid("0000000000000007".parse().unwrap()), false).await.unwrap();
    assert_eq!(named.damage, []);
    let files = Catalogue::load(&scene.store).await.unwrap().entries;
    let file = files.into_iter().max_by_key(|file| file.name.max).unwrap();
    let time = read_header(&scene.store, &file).await.unwrap().timestamp_ms;
    assert!(scene.restore(Goal::Time(time), false).await.is_ok());
    let found = verify(&scene.store, &options(&scene), &Arc::new(Progress::default())).await.unwrap();
    assert!(!found.ok && found.findings.len() == 1, "{found:?}");

    // A note that cannot be read keeps nobody from a restore.
    put(&scene, "highwater/proven.json", b"{".to_vec()).await;
    assert_eq!(scene.restore(Goal::Newest, false).await.unwrap().restored.txid, "0000000000000007");
    // The mark of somebody who may only put and list says the same as the document.
    put(&scene, "highwater/proven/0000000000000008", Vec::new()).await;
    assert_eq!(scene.restore(Goal::Newest, false).await.unwrap_err().class(), Class::Damaged);
}

fn options(scene: &Scene) -> VerifyOptions {
    VerifyOptions { all: false, full: false, scratch: scene.path().to_owned(), restore: scene.options() }
}

/// Nothing is ever changed by looking, and nothing has to be deleted by hand.
#[tokio::test]
async fn p3_looking_and_restoring_change_no_object() {
    let scene = Scene::new();
    scene.history(3).await;
    let key = object(&scene, "sync").await;
    harm(&scene, "sync", &key, "flipped").await;
    let before = scene.store.list_all("").await.unwrap();
    let _ = scene.restore(Goal::Newest, false).await;
    scene.restore(Goal::Newest, true).await.unwrap();
    assert_eq!(scene.store.list_all("").await.unwrap(), before);
}
