//! All sources together: precedence, checks, and the fingerprint.

use super::*;
use crate::{Class, Profile, RestoreMode};
use std::fs;
use tempfile::TempDir;

struct Pod {
    dir: TempDir,
    sources: Sources,
}

impl Pod {
    fn new(yaml: &str) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("protect.yaml"), yaml).unwrap();
        fs::write(dir.path().join("annotations"), "").unwrap();
        let sources = Sources {
            config: Some(dir.path().join("protect.yaml")),
            annotations: Some(dir.path().join("annotations")),
            ..Sources::default()
        };
        Self { dir, sources }
    }

    fn annotate(self, text: &str) -> Self {
        fs::write(self.dir.path().join("annotations"), text).unwrap();
        self
    }

    fn env(mut self, key: &str, value: &str) -> Self {
        self.sources.environment.insert(key.into(), value.into());
        self
    }

    fn resolve(&self) -> Description {
        self.sources.resolve().unwrap()
    }

    /// The error without the scratch directory's name.
    fn refusal(&self) -> String {
        let text = self.sources.resolve().unwrap_err().to_string();
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

const FULL: &str = include_str!("../../examples/vaultwarden.yaml");
const SMALL: &str = include_str!("../../examples/small.yaml");

#[test]
fn the_example_resolves() {
    let description = Pod::new(FULL).resolve();
    assert_eq!(description.app.as_deref(), Some("vaultwarden"));
    let by_path: Vec<(&str, Profile, u64, u64)> = description
        .databases
        .iter()
        .map(|d| (d.path.as_str(), d.profile, d.snapshot.as_secs(), d.keep.all.as_secs() / 86_400))
        .collect();
    assert_eq!(
        by_path,
        [
            ("cache.db", Profile::Ephemeral, 0, 0),
            ("db.sqlite3", Profile::Critical, 3_600, 14),
            ("icons.db", Profile::Standard, 28_800, 7)
        ]
    );
    assert_eq!(
        description.databases[1].url.as_deref(),
        Some(
            "s3://prod-backups/home/vaultwarden/sqlite/db.sqlite3?endpoint=http://minio.storage.svc:9000&allow-http=true"
        )
    );
    assert_eq!(description.databases[0].url, None);
    assert!(description.files[0].url.contains("/vaultwarden/files?"));
    assert_eq!(description.files[0].exclude, ["*.log", "cache/"]);
    assert_eq!(description.locate("db.sqlite3"), PathBuf::from("/highwater/data/db.sqlite3"));
    assert_eq!((description.restore.mode, description.restore.timeout.as_secs()), (RestoreMode::Auto, 1_800));
}

#[test]
fn trap_20_later_sources_win_and_lists_replace() {
    let pod = Pod::new(FULL)
        .annotate("highwater.dev/sqlite=\"other.db=relaxed\"\nhighwater.dev/app=\"renamed\"\n")
        .env("HIGHWATER_APP", "by-environment");
    let mut description = pod.resolve();
    assert_eq!(description.app.as_deref(), Some("by-environment"));
    assert_eq!(description.databases.len(), 1, "the annotation's list replaces the file's");
    assert_eq!(description.databases[0].path, "other.db");
    let mut flags = pod.sources.clone();
    flags.flags.app = Some(Layer::flag("--app", "by-flag".into()));
    description = flags.resolve().unwrap();
    assert_eq!(description.app.as_deref(), Some("by-flag"));
}

#[test]
fn trap_20_the_fingerprint_is_of_the_meaning() {
    let in_file = Pod::new(SMALL).resolve();
    let elsewhere = Pod::new("replica: file:///mnt/nas/backups/notes\n")
        .annotate("highwater.dev/app=\"notes\"\nhighwater.dev/sqlite=\"./notes.db=standard\"\n")
        .resolve();
    assert_eq!(in_file, elsewhere);
    assert_eq!(in_file.fingerprint(), elsewhere.fingerprint());
    assert_eq!(in_file.fingerprint().len(), 64);
    let changed = Pod::new(SMALL).annotate("highwater.dev/keep=\"all=8d\"\n").resolve();
    assert_ne!(in_file.fingerprint(), changed.fingerprint());
}

#[test]
fn variables_are_expanded_in_replicas() {
    let yaml = "app: a\ncluster: home\nreplica: s3://b/$(CLUSTER)/$(POD_NAMESPACE)/$(POD_NAME)\ndatabases: [{path: a.db}]\n";
    let pod = Pod::new(yaml).env("POD_NAME", "a-0").env("POD_NAMESPACE", "apps");
    assert_eq!(pod.resolve().databases[0].url.as_deref(), Some("s3://b/home/apps/a-0/sqlite/a.db"));
    assert_eq!(
        Pod::new(yaml).env("POD_NAME", "a-0").refusal(),
        "protect.yaml:3: replica: $(POD_NAMESPACE) has no value (set POD_NAMESPACE from the downward API)"
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (yaml, message) in [
        (
            "app: a\nreplica: file:///b\ndatabases:\n  - path: a.db\n  - path: ./a.db\n",
            "protect.yaml:5: databases[1].path: /highwater/data/a.db is already protected by protect.yaml:4: databases[0].path",
        ),
        (
            "app: a\nreplica: file:///b\ndatabases:\n  - {path: a.db, url: 'file:///x/'}\n  - {path: b.db, url: 'file:///x'}\n",
            "protect.yaml:5: databases[1].path: its replica file:///x is already the replica of protect.yaml:4: databases[0].path",
        ),
        (
            "app: a\nreplica: file:///b\nfiles:\n  - path: .\n  - path: sub\n",
            "protect.yaml:5: files[1].path: /highwater/data/sub is already protected by protect.yaml:4: files[0].path",
        ),
        (
            "app: a\nreplica: file:///b\ndatabases:\n  - {path: a.db, profile: ephemeral, snapshot: 8h}\n",
            "protect.yaml:4: databases[0].snapshot: has no meaning for a.db, which is ephemeral and not backed up",
        ),
        (
            "app: a\nreplica: file:///b\ndatabases: [{path: ../a.db}]\n",
            "protect.yaml:3: databases[0].path: \"../a.db\" leaves the root; paths hold no ..",
        ),
        (
            "app: a\nreplica: file:///b\ndatabases: [{path: .}]\n",
            "protect.yaml:3: databases[0].path: the root itself is not a database",
        ),
        (
            "app: a\nreplica: file:///b\nroot: data\nfiles: [{path: .}]\n",
            "protect.yaml:3: root: \"data\" is not an absolute path",
        ),
        (
            "app: a\nreplica: http://b/c\nfiles: [{path: .}]\n",
            "protect.yaml:2: replica: the http URL is neither s3:// nor file://",
        ),
        (
            "app: a\nreplica: s3://user:secret@b/c\nfiles: [{path: .}]\n",
            "protect.yaml:2: replica: the s3 URL credentials do not belong into a URL",
        ),
        ("app: a/b\nreplica: file:///b\nfiles: [{path: .}]\n", "protect.yaml:1: app: \"a/b\" is not a name"),
        ("replica: file:///b\nfiles: [{path: .}]\n", "app is missing"),
        ("app: a\ndatabases: [{path: a.db}]\n", "replica is missing"),
        ("app: a\nreplica: file:///b\n", "databases is missing"),
        (
            "app: a\nreplica: file:///b\nencrypt: {recipients: []}\nfiles: [{path: .}]\n",
            "protect.yaml:3: encrypt.recipients: encryption without a recipient",
        ),
        (
            "app: a\nreplica: file:///b\nsnapshot: 5s\nfiles: [{path: .}]\n",
            "protect.yaml:3: snapshot: a restore point more often",
        ),
    ] {
        let error = Pod::new(yaml).refusal();
        assert!(error.starts_with(message), "{yaml} gave {error:?}");
    }
}

#[test]
fn p4_a_replica_inside_another_is_refused() {
    let pod = |urls: &str| Pod::new(&format!("app: a\nreplica: s3://b/app\ndatabases:\n{urls}"));
    for urls in [
        "  - {path: a.db}\n  - {path: b.db, url: 's3://b/app'}\n",
        "  - {path: a.db, url: 's3://x/y/z'}\n  - {path: b.db, url: 's3://x/y/'}\n",
        "  - {path: a.db, url: 's3://x/y?region=r'}\n  - {path: b.db, url: 's3://x/y'}\n",
    ] {
        let error = pod(urls).refusal();
        assert!(error.starts_with("protect.yaml:5: databases[1].path: its replica"), "{urls}: {error}");
    }
    pod("  - {path: a.db, url: 's3://x/y?endpoint=http://one'}\n  - {path: b.db, url: 's3://x/y?endpoint=http://two'}\n")
        .resolve();
}

#[test]
fn a_match_has_the_same_replica_however_it_was_found() {
    let replica = |path: &str| {
        let pod = Pod::new(&format!("app: a\nreplica: s3://b/app\ndatabases: [{{path: '{path}'}}]\n"));
        pod.resolve().databases[0].replica_of("dir/x.db")
    };
    for path in ["dir/x.db", "dir", "dir/*.db", "**/*.db"] {
        assert_eq!(replica(path).as_deref(), Some("s3://b/app/sqlite/dir/x.db"), "{path}");
    }
    assert_eq!(replica("di"), None);
    Pod::new("app: a\nreplica: s3://b/app\ndatabases: [{path: '*.db'}, {path: '*.sqlite'}]\n").resolve();
}

#[test]
fn a_secret_key_is_refused_and_not_repeated() {
    let yaml =
        "app: a\nreplica: file:///b\nencrypt: {recipients: [AGE-SECRET-KEY-1XYZ]}\nfiles: [{path: .}]\n";
    let error = Pod::new(yaml).refusal();
    assert!(error.contains("holds a secret key") && !error.contains("1XYZ"), "{error}");
}

#[test]
fn p6_a_named_source_must_be_readable() {
    let mut pod = Pod::new(SMALL);
    pod.sources.config = Some(pod.dir.path().join("missing.yaml"));
    assert!(pod.refusal().starts_with("cannot read missing.yaml"), "{}", pod.refusal());
    assert_eq!(pod.sources.resolve().unwrap_err().class(), Class::Fatal);
    pod.sources.config = Some(pod.dir.path().to_owned());
    assert!(pod.refusal().starts_with("cannot read"));
}

#[test]
fn p7_a_source_is_bounded() {
    let pod = Pod::new(&format!("app: {}\n", "a".repeat(2 << 20)));
    assert!(pod.refusal().contains("larger than 1 MiB"));
}
