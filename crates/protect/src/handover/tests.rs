//! The handover is exact on both sides.

use super::*;

const DOCUMENT: &str = r#"{"format":1,"description":"DIGEST","finished":"2026-11-21T08:00:00Z",
    "databases":[{"path":"db.sqlite3","outcome":"restored","lineage":"4f1d6e0c8a3b2c17","epoch":3,
      "txid":"00000000000000ff","claimed":true,"bytes":4096,"seconds":0.25}],
    "files":[{"path":".","outcome":"kept","epoch":1,"snapshot":7,"claimed":true,"bytes":0,"seconds":0.0}]}"#;

fn document() -> String {
    DOCUMENT.replace("DIGEST", &"ab".repeat(32))
}

#[test]
fn what_is_written_is_what_the_interface_says_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = Handover::path_in(dir.path());
    assert_eq!(Handover::read(&path).unwrap(), None);
    fs::write(&path, document()).unwrap();
    let read = Handover::read(&path).unwrap().unwrap();
    assert_eq!(read.database("db.sqlite3").unwrap().lineage, 0x4f1d6e0c8a3b2c17);
    assert_eq!(read.database("db.sqlite3").unwrap().txid, 0xff);
    assert_eq!(read.tree(".").unwrap().outcome, Outcome::Kept);
    read.write(&path).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&document()).unwrap();
    let written: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(written, expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    Handover::withdraw(&path).unwrap();
    Handover::withdraw(&path).unwrap();
    assert_eq!(Handover::read(&path).unwrap(), None);
}

#[test]
fn trap_20_nothing_is_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let path = Handover::path_in(dir.path());
    for (from, to, says) in [
        ("\"format\":1", "\"format\":2", "format 2"),
        ("\"format\":1", "\"format\":1,\"extra\":0", "unknown field"),
        ("\"claimed\":true,\"bytes\":4096", "\"bytes\":4096", "missing field"),
        ("4f1d6e0c8a3b2c17", "4F1D6E0C8A3B2C17", "16 lowercase hex"),
        ("00000000000000ff", "ff", "16 lowercase hex"),
        ("restored", "rescued", "unknown variant"),
        ("\"epoch\":3", "\"epoch\":0", "a claim has an epoch"),
        ("2026-11-21T08:00:00Z", "today", "RFC 3339"),
        ("abab", "xyz", "SHA-256"),
        ("]}", "", "EOF"),
    ] {
        let text = document();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = Handover::read(&path).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("restored.json"), "{says}: {error}");
    }
    fs::write(&path, "x".repeat(17 << 20)).unwrap();
    assert!(Handover::read(&path).unwrap_err().to_string().contains("16 MiB"));
}

/// What was written can be read: the sidecars of a pod with many databases would wait forever otherwise.
#[test]
fn p7_many_databases_fit_and_too_many_are_refused_by_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = Handover::path_in(dir.path());
    let one: Handover = serde_json::from_str(&document()).unwrap();
    let of = |databases: usize| {
        let each = |n| RestoredDatabase { path: format!("tenants/{n:06}.db"), ..one.databases[0].clone() };
        Handover { databases: (0..databases).map(each).collect(), ..one.clone() }
    };
    of(5_000).write(&path).unwrap();
    assert_eq!(Handover::read(&path).unwrap().unwrap().databases.len(), 5_000);
    assert!(of(100_000).write(&path).unwrap_err().to_string().contains("16 MiB"));
    assert_eq!(
        Handover::read(&path).unwrap().unwrap().databases.len(),
        5_000,
        "the one before is left alone"
    );
}

#[test]
fn trap_20_another_description_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("protect.yaml");
    let resolve = |app: &str| {
        fs::write(&config, format!("app: {app}\nreplica: file:///b\ndatabases: [{{path: a.db}}]\n")).unwrap();
        crate::Sources { config: Some(config.clone()), ..Default::default() }.resolve().unwrap()
    };
    let (mine, other) = (resolve("one"), resolve("two"));
    let handover = Handover::new(&mine, "2026-11-21T08:00:00Z".into());
    handover.check(&mine).unwrap();
    let error = handover.check(&other).unwrap_err();
    assert_eq!(error.class(), crate::Class::Fatal);
    assert!(error.to_string().contains(&mine.fingerprint()), "{error}");
}
