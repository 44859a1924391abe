use super::*;
use crate::testing::{Bench, run};
use bytes::Bytes;
use store::PutOptions;

async fn put(b: &Bench, key: &str, body: &str, metadata: &[(&str, &str)]) {
    let options =
        metadata.iter().fold(PutOptions::create(), |o, (name, value)| o.with_metadata(*name, *value));
    b.store.put(key, Bytes::copy_from_slice(body.as_bytes()), &options).await.unwrap();
}

#[test]
fn p3_a_mirror_is_read_without_what_the_old_loop_should_not_have_stored() {
    run(async {
        let (b, mirror) = (Bench::new(), Bench::new());
        put(&mirror, "a/plain.yaml", "x: 1", &[("mtime", "1700000000.123456789")]).await;
        let metadata = [
            ("mtime", "1700000000.5"),
            ("mode", "100750"),
            ("atime", "2023-01-01T00:00:00Z"),
            ("note", "kept"),
        ];
        put(&mirror, "a/run.sh", "#!/bin/sh", &metadata).await;
        put(&mirror, "a/foreign", "1", &[("mtime", "1"), ("note", "of nobody knows whom")]).await;
        put(&mirror, "a/now.rclonelink", "plain.yaml", &[]).await;
        put(&mirror, "app.db", "SQLite format 3\0torn", &[]).await;
        put(&mirror, "app.db-wal", "torn as well", &[]).await;
        put(&mirror, ".app.db-litestream/generation", "x", &[]).await;
        mirror.requests();
        let root = b.dir.path().join("volume");
        let done = import(&mirror.store, &root).await.unwrap().unwrap();
        assert_eq!((done.files, done.sqlite, done.left_out), (4, 2, 1));
        let writes =
            mirror.requests().into_iter().filter(|r| r.starts_with("put") || r.starts_with("delete")).count();
        assert_eq!(writes, 0, "the mirror is only read");
        let look = |name: &str| crate::scan::Look::from(rustix::fs::lstat(root.join(name)).unwrap());
        assert_eq!(look("a/plain.yaml").mtime, Time { sec: 1_700_000_000, nsec: 123_456_789 });
        assert_eq!((look("a/run.sh").mode, look("a/run.sh").mtime.nsec), (0o750, 500_000_000));
        let attributes = |name: &str| {
            let found = crate::read::xattrs(&root, &crate::RelPath::new(name).unwrap()).unwrap();
            found.into_iter().map(|x| (x.name, x.value)).collect::<Vec<_>>()
        };
        let kept = [(b"user.note".to_vec(), b"kept".to_vec())];
        assert!(
            attributes("a/run.sh") == kept || attributes("a/run.sh").is_empty(),
            "or the file system has none"
        );
        assert!(attributes("a/foreign").is_empty());
        assert_eq!(std::fs::read_link(root.join("a/now")).unwrap(), Path::new("plain.yaml"));
        assert!(!root.join("app.db").exists() && !root.join("app.db-wal").exists());
        // What is there now is what a writer commits.
        let settings = crate::Settings {
            root: root.clone(),
            origin: Some("rclone-mirror x".into()),
            ..b.settings.clone()
        };
        let mut writer = b.writer_with(settings, crate::Steps::default()).await.unwrap();
        let head = writer.snapshot(|_| {}).await.unwrap().head.unwrap();
        let (_, manifest) = crate::read_manifest(&b.store, head.number, None).await.unwrap();
        assert_eq!(manifest.origin.as_deref(), Some("rclone-mirror x"));
    });
}

#[test]
fn p2_a_damaged_object_and_a_half_import_never_become_a_snapshot() {
    run(async {
        let (b, mirror) = (Bench::new(), Bench::new());
        put(&mirror, "good", "1", &[]).await;
        put(&mirror, "wrong", "2", &[("md5chksum", "AAAAAAAAAAAAAAAAAAAAAA==")]).await;
        let root = b.dir.path().join("volume");
        let error = import(&mirror.store, &root).await.unwrap_err();
        assert!(error.to_string().contains("wrong: its bytes are not"), "{error}");
        let settings = crate::Settings { root: root.clone(), ..b.settings.clone() };
        let begun = b.writer_with(settings, crate::Steps::default()).await.err().unwrap();
        assert!(begun.to_string().contains("not finished"), "{begun}");
        // Begun again it ends.
        mirror.store.delete_all(&["wrong".to_owned()]).await.unwrap();
        assert_eq!(import(&mirror.store, &root).await.unwrap().unwrap().files, 1);
    });
}

#[test]
fn p3_only_an_empty_directory_is_imported_into() {
    run(async {
        let (b, mirror) = (Bench::new(), Bench::new());
        assert_eq!(import(&mirror.store, b.root()).await.unwrap(), None, "nothing there");
        put(&mirror, "a", "1", &[]).await;
        b.put("mine", "1");
        let error = import(&mirror.store, b.root()).await.unwrap_err();
        assert_eq!(error.class(), crate::Class::Refused, "{error}");
        assert!(!b.root().join("a").exists());
    });
}
