//! P8: the tree comes back with `zstd`, `tar`, `jq` and `age` alone, by the very script of `docs/formats/files.md`.

#![allow(clippy::unwrap_used, reason = "a test says so at once")]

use clock::{SystemClock, SystemIds};
use file_replica::{Filter, Identity, Settings, Steps, Writer};
use seal::{Protection, Recipients};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use store::{OpenConfig, StoreUrl};

const TOOLS: [&str; 4] = ["zstd", "tar", "jq", "age"];

/// The documented script, between its fences.
fn script() -> String {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats/files.md")).unwrap();
    let after = text.split_once("```sh\n").expect("the document holds the script").1;
    after.split_once("```").expect("the script ends").0.to_owned()
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success())
}

fn round_trip(protection: Protection, key: Option<&str>) {
    if let Some(missing) = TOOLS.iter().find(|t| !has(t)) {
        println!("SKIP recovery by hand: {missing} is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, bucket, work) = (dir.path().join("tree"), dir.path().join("bucket"), dir.path().join("work"));
    for d in [&root, &bucket, &work] {
        std::fs::create_dir(d).unwrap();
    }
    let put = |path: &str, bytes: &[u8]| {
        let at = root.join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, bytes).unwrap();
    };
    put("config/app.yaml", b"a: 1\n");
    put("config/with space & ä.txt", b"text");
    put("empty", b"");
    put("big.bin", &vec![5u8; 5 << 20]);
    std::os::unix::fs::symlink("config/app.yaml", root.join("link")).unwrap();
    let settings = Settings {
        root: root.clone(),
        identity: Identity::default(),
        protection,
        filter: Filter::new(&[]).unwrap(),
        must_exist: vec![],
        adopt: false,
        origin: None,
        writer: "test".into(),
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let url = StoreUrl::parse(&format!("file://{}", bucket.display())).unwrap();
        let store = store::open(&url, OpenConfig::default()).await.unwrap();
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds::default()));
        let mut writer =
            Writer::begin(settings, store, clock, ids, None, None, Steps::default()).await.unwrap();
        writer.snapshot(|_| {}).await.unwrap();
        // A second snapshot, so that packs overlap, one path is gone and one was renamed.
        std::fs::rename(root.join("config/with space & ä.txt"), root.join("config/renamed.txt")).unwrap();
        put("config/app.yaml", b"a: 2\n");
        writer.snapshot(|_| {}).await.unwrap();
    });
    let open = match key {
        Some(key) => {
            std::fs::write(work.join("key"), key).unwrap();
            "age -d -i key | zstd -dc"
        }
        None => "zstd -dc",
    };
    let text = format!(
        "set -euo pipefail\nget() {{ cat \"{0}/$1\"; }}\nlist() {{ ls \"{0}/$1\" | sed \"s|^|$1|\"; }}\n{1}\n\
         jq -r '.entries[] | select(.type == \"file\") | .sha256 + \"  tree/\" + .path' manifest | sha256sum -c --quiet\n",
        bucket.display(),
        script().replace("zstd -dc", open)
    );
    let output = Command::new("bash").arg("-c").arg(text).current_dir(&work).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |path: &str| std::fs::read(work.join("tree").join(path)).unwrap();
    assert_eq!(read("config/app.yaml"), b"a: 2\n");
    assert_eq!(read("config/renamed.txt"), b"text");
    assert_eq!(read("big.bin"), vec![5u8; 5 << 20]);
    assert_eq!(read("empty"), b"");
    assert!(!work.join("tree/config/with space & ä.txt").exists());
    assert_eq!(std::fs::read_link(work.join("tree/link")).unwrap(), Path::new("config/app.yaml"));
}

#[test]
fn p8_a_plain_replica_is_restored_with_the_standard_tools() {
    round_trip(Protection::Plain, None);
}

#[test]
fn p8_a_sealed_replica_is_restored_with_the_standard_tools() {
    let key = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    let recipients = Recipients::from_list(&[key.to_public().to_string()], "test").unwrap();
    round_trip(Protection::Sealed(recipients), Some(&secret));
}
