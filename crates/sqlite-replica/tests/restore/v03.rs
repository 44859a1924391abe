//! Litestream 0.3 generations. `fixtures/v03.tar` and its databases were made by `fixtures/v03.sh` with the program itself (0.3.13)
//! from our own input; the rest is written here by the rules of its layout.

use crate::scene::{Scene, application, fill, rows};
use rusqlite::Connection;
use sqlite_replica::{Class, Error, Integrity, Progress, v03};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{PutOptions, Store};

const GENERATION: &str = "generations/00112233445566ff";

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
    let mut out = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

async fn put(store: &Store, name: &str, bytes: Vec<u8>) {
    store.put(&format!("{GENERATION}/{name}"), bytes.into(), &PutOptions::overwrite()).await.unwrap();
}

/// A snapshot, a first WAL in two segments, a second WAL; 30 rows, then 20 more, then 10 more.
async fn written(scene: &Scene) {
    let path = scene.path().join("old.db");
    let db = application(&path);
    db.execute_batch("PRAGMA wal_autocheckpoint=0").unwrap();
    fill(&db, 30, 900);
    checkpoint(&db);
    put(&scene.store, "snapshots/00000000.snapshot.lz4", lz4(&fs::read(&path).unwrap())).await;
    fill(&db, 20, 900);
    let wal = fs::read(wal(&path)).unwrap();
    let cut = 32 + 3 * (24 + 4096);
    put(&scene.store, "wal/00000000_00000000.wal.lz4", lz4(&wal[..cut])).await;
    put(&scene.store, &format!("wal/00000000_{cut:08x}.wal.lz4"), lz4(&wal[cut..])).await;
    checkpoint(&db);
    fill(&db, 10, 900);
    let mut next = fs::read(self::wal(&path)).unwrap();
    // What 0.3 may have sent of a transaction that never ended.
    next.extend([0x77; 4000]);
    put(&scene.store, "wal/00000001_00000000.wal.lz4", lz4(&next)).await;
}

fn wal(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

fn checkpoint(db: &Connection) {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

async fn restore(
    scene: &Scene,
    identities: Option<seal::Identities>,
) -> Result<(v03::Restored, PathBuf), Error> {
    let out = scene.path().join("out.db");
    let plan = v03::plan(&scene.store, None).await?;
    let progress = Arc::new(Progress::default());
    let done =
        v03::restore(&scene.store, &plan, &out, Integrity::Full, identities.map(Arc::new), &progress).await?;
    Ok((done, out))
}

#[tokio::test]
async fn snapshot_and_wals_become_the_newest_state() {
    let scene = Scene::new();
    written(&scene).await;
    let (done, out) = restore(&scene, None).await.unwrap();
    assert_eq!((done.index, done.objects), (1, 4));
    assert_eq!(rows(&out), 60);
    assert_eq!(v03::list(&scene.store).await.unwrap().len(), 1);
}

#[tokio::test]
async fn p2_holes_and_damage_are_named() {
    for (name, how, says) in [
        ("wal/00000000_00000000.wal.lz4", "missing", "hole"),
        ("wal/00000000_00000000.wal.lz4", "flipped", "cannot be unpacked"),
        ("wal/00000000_00000000.wal.lz4", "truncated", ""),
        ("wal/00000000_00000000.wal.lz4", "repacked", "does not continue"),
        ("snapshots/00000000.snapshot.lz4", "flipped", "cannot be unpacked"),
        ("snapshots/00000000.snapshot.lz4", "missing", "no litestream 0.3 generation"),
    ] {
        let scene = Scene::new();
        written(&scene).await;
        let key = format!("{GENERATION}/{name}");
        let mut bytes = scene.store.get_bytes(&key, None).await.unwrap().to_vec();
        match how {
            "missing" => scene.store.delete_all(std::slice::from_ref(&key)).await.unwrap(),
            "flipped" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x20;
                put(&scene.store, name, bytes).await;
            }
            // Intact for LZ4, and not what SQLite wrote.
            "repacked" => {
                let mut raw = Vec::new();
                lz4_flex::frame::FrameDecoder::new(&bytes[..]).read_to_end(&mut raw).unwrap();
                raw[32 + 24 + 4096 + 100] ^= 1;
                put(&scene.store, name, lz4(&raw)).await;
            }
            _ => put(&scene.store, name, bytes[..bytes.len() / 2].to_vec()).await,
        }
        let error = restore(&scene, None).await.unwrap_err();
        assert!(matches!(error.class(), Class::Damaged | Class::Refused), "{name} {how}: {error}");
        assert!(error.to_string().contains(says), "{name} {how}: {error}");
        assert!(!scene.path().join("out.db").exists());
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restore/fixtures").join(name)
}

async fn load(scene: &Scene, name: &str) {
    for line in fs::read_to_string(fixture(name).join("keys.txt")).unwrap().lines() {
        let (file, key) = line.split_once(' ').unwrap();
        let bytes = fs::read(fixture(name).join(file)).unwrap();
        scene.store.put(key, bytes.into(), &PutOptions::overwrite()).await.unwrap();
    }
}

#[tokio::test]
async fn what_litestream_0_3_13_wrote_is_restored_bit_for_bit() {
    let scene = Scene::new();
    load(&scene, "v03-plain").await;
    let (_, out) = restore(&scene, None).await.unwrap();
    assert_eq!(fs::read(out).unwrap(), fs::read(fixture("v03-plain/expected.db")).unwrap());
}

#[tokio::test]
async fn what_litestream_0_3_13_encrypted_opens_with_its_identity_only() {
    let scene = Scene::new();
    load(&scene, "v03-age").await;
    let error = restore(&scene, None).await.unwrap_err();
    assert_eq!(error.class(), Class::Refused);
    assert!(error.to_string().contains("--identity"), "{error}");
    let other = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    if let Ok(other) = seal::Identities::parse(other, "other") {
        assert_eq!(restore(&scene, Some(other)).await.unwrap_err().class(), Class::Refused);
    }
    let ours = seal::Identities::from_file(&fixture("v03-age/identity.txt")).unwrap();
    let (_, out) = restore(&scene, Some(ours)).await.unwrap();
    assert_eq!(fs::read(out).unwrap(), fs::read(fixture("v03-age/expected.db")).unwrap());
}
