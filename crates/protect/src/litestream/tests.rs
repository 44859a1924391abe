//! Files as they are found in the wild, and the ones that are wrong.

use super::*;

fn options() -> Options {
    Options {
        app: Some("vault".into()),
        base: PathBuf::from("/srv"),
        home: Some(PathBuf::from("/home/me")),
        variables: Some(|name| (name == "BUCKET").then(|| "backups".to_owned())),
    }
}

fn done(text: &str) -> Import {
    import(text, "litestream.yml", &options()).unwrap()
}

/// The description that our own reader makes of the translation.
fn described(import: &Import) -> crate::Description {
    let layer = crate::yaml::parse(&import.yaml, "translation").unwrap();
    crate::resolve::resolve(layer, crate::Variables::default())
        .unwrap_or_else(|e| panic!("{e}\n{}", import.yaml))
}

const V05: &str = "\
addr: \":9090\"
access-key-id: AKIA
secret-access-key: hunter2
region: us-east-1
snapshot:
  interval: 6h
  retention: 72h
levels:
  - interval: 30s
logging: { level: debug, type: json }
socket: { enabled: true, path: /run/ls.sock, permissions: 0600 }
shutdown-sync-timeout: 1m30s
dbs:
  - path: /data/app/db.sqlite3
    meta-path: /data/meta
    replica:
      url: s3://${BUCKET}/vault?endpoint=http://minio.storage.svc:9000&forcePathStyle=true
      sync-interval: 500ms
  - path: sqlite:///data/other.db
    snapshot: { interval: 1h }
    replica:
      type: s3
      bucket: $BUCKET
      path: other
      endpoint: s3.example.com
      force-path-style: false
";

#[test]
fn a_05_file_becomes_a_description_with_the_same_replicas() {
    let import = done(V05);
    let described = described(&import);
    assert_eq!(described.root, PathBuf::from("/data"));
    let urls: Vec<_> =
        described.databases.iter().map(|d| (d.path.as_str(), d.url.as_deref().unwrap())).collect();
    assert_eq!(
        urls,
        [
            (
                "app/db.sqlite3",
                "s3://backups/vault?endpoint=http://minio.storage.svc:9000&allow-http=true&region=us-east-1&path-style=true"
            ),
            (
                "other.db",
                "s3://backups/other?endpoint=https://s3.example.com&region=us-east-1&path-style=false"
            ),
        ]
    );
    assert_eq!(described.databases[0].snapshot.as_secs(), 6 * 3600);
    assert_eq!(described.databases[1].snapshot.as_secs(), 3600);
    assert!(described.databases.iter().all(|d| d.keep.all.as_secs() == 72 * 3600));
    let flags = [
        "--listen 0.0.0.0:9090",
        "--log-format json",
        "--socket /run/ls.sock",
        "--drain 90s",
        "--sync-interval 500ms",
    ];
    for flag in flags {
        assert!(import.flags.iter().any(|have| have == flag), "{flag} is not in {:?}", import.flags);
    }
    assert!(import.complete);
}

#[test]
fn secrets_are_never_repeated() {
    let import = done(V05);
    let shown = format!("{import:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("AKIA"), "{shown}");
    assert!(
        import.yaml.contains("secret-access-key (line 3): a secret does not belong here"),
        "{}",
        import.yaml
    );
}

#[test]
fn a_03_file_with_age_and_two_replicas() {
    let import = done(
        "dbs:\n  - path: ~/app.db\n    replicas:\n      - name: one\n        url: s3://backups/app\n        retention: 168h\n        snapshot-interval: 24h\n        validation-interval: 6h\n        age: { recipients: [age1x], identities: [AGE-SECRET-KEY-1] }\n      - path: /mnt/copy\n",
    );
    let described = described(&import);
    assert_eq!(described.root, PathBuf::from("/home/me"));
    assert_eq!(described.encrypt.unwrap().recipients, ["age1x"]);
    assert_eq!(described.databases[0].keep.all.as_secs(), 7 * 86_400);
    assert_eq!(described.databases[0].snapshot.as_secs(), 86_400);
    assert!(!import.complete && !import.yaml.contains("AGE-SECRET-KEY"));
    let refused: Vec<_> = import.notes.iter().filter(|note| note.fate == Fate::Refused).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].key.as_str(), refused[0].line), ("dbs[0].replicas[1].path", Some(10)));
}

#[test]
fn directories_become_patterns_with_the_same_keys() {
    let import = done(
        "dbs:\n  - dir: tenants\n    pattern: '*.db'\n    recursive: true\n    watch: true\n    replica: { url: s3://backups/tenants }\n",
    );
    let described = described(&import);
    assert_eq!(
        (described.root.to_str().unwrap(), described.databases[0].path.as_str()),
        ("/srv/tenants", "**/*.db")
    );
    assert_eq!(described.databases[0].replica_of("a/b.db").unwrap(), "s3://backups/tenants/a/b.db");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, message) in [
        (
            "dbs:\n  - path: /a.db\n    replcia: {}\n",
            "litestream.yml:3: dbs[0].replcia is not a known key (did you mean replica?)",
        ),
        ("dbz: []\n", "litestream.yml:1: dbz is not a known key (did you mean dbs?)"),
        (
            "dbs:\n  - path: /a.db\n    replica: { url: 's3://$NOPE/x' }\n",
            "litestream.yml:3: dbs[0].replica.url: the variable NOPE is not set here; set it for the translation",
        ),
        (
            "snapshot: { interval: daily }\ndbs:\n  - path: /a.db\n    replica: { url: s3://bbb/x }\n",
            "litestream.yml:1: snapshot.interval: \"daily\" is not a duration (24h, 1h30m, 500ms)",
        ),
        ("dbs:\n  - path: /a.db\n", "litestream.yml:2: dbs[0]: has no replica"),
        ("dbs: 7\n", "litestream.yml:1: dbs: is not a list"),
        ("addr: x\n", "litestream.yml:1: dbs: no database of this file can be translated"),
    ] {
        assert_eq!(import(text, "litestream.yml", &options()).unwrap_err().to_string(), message);
    }
    let gone = import("dbs:\n  - path: /a.db\n    replica: { url: 'gs://b/x' }\n  - path: /b.db\n    replica: { path: /mnt/b }\n", "f", &options()).unwrap();
    assert!(
        !gone.complete && gone.yaml.contains("gs is not supported") && gone.yaml.contains("file:///mnt/b")
    );
}

/// Every key is in the table once per scope, and no rule is silent.
#[test]
fn the_table_has_no_doubles() {
    for table in [keys::GLOBAL, keys::REPLICA, keys::REPLICA_ONLY] {
        let mut names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
