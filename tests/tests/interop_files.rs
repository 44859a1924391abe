//! Trees of files in object stores that other people wrote: MinIO, which keeps every promise of S3 that we build on, and Garage, which
//! takes a create-only put twice. And the way back: a mirror of ours, pulled by rclone from MinIO.
//!
//! Part of `cargo xtask test --full`, as `interop_servers` is for databases.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use std::fs;
use std::path::{Path, PathBuf};

use e2e::interop::{PATIENCE, Replica};
use e2e::rclone::Rclone;
use e2e::servers::{Server, garage, minio};
use e2e::tree::{assert_same, mirrored, plant, plant_bytes, things};
use e2e::{Outcome, run};
use serde_json::Value;
use tempfile::TempDir;
use testkit::procs::Proc;
use testkit::s3::BUCKET;

fn syncer(replica: &Replica, verb: &str, tree: &Path, more: &[&str]) -> Outcome {
    let mut command = replica.ours("config-syncer");
    command.arg(verb).arg(tree).arg(&replica.url).args(more);
    run(command)
}

fn restore(replica: &Replica, verb: &str, more: &[&str]) -> Outcome {
    let mut command = replica.ours("restore");
    command.args([verb, &replica.url]).args(more);
    run(command)
}

fn watch(replica: &Replica, tree: &Path) -> Proc {
    let mut command = replica.ours("config-syncer");
    command.arg("watch").arg(tree).arg(&replica.url);
    command.args(["--debounce", "100ms", "--listen", "127.0.0.1:0"]);
    let mut syncer = Proc::start(command);
    syncer.wait_for_log(PATIENCE, "\"claimed\"");
    syncer
}

/// A tree called `tree` in a directory of its own: its name is part of the claim.
fn tree() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    (dir, tree)
}

fn newest(replica: &Replica) -> u64 {
    let rows: Value =
        serde_json::from_str(&restore(replica, "list", &["-o", "json"]).expect(0).stdout).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["snapshot"].as_u64().unwrap()).max().unwrap()
}

/// Kept twice, by a command and by a watcher, proven, drilled, and brought back at both points.
fn keep_and_bring_back(replica: &Replica) -> String {
    let (dir, tree) = tree();
    plant(&tree);
    plant_bytes(&tree);
    let first = things(&tree);
    syncer(replica, "snapshot", &tree, &[]).expect(0);
    let number = newest(replica);

    let mut watching = watch(replica, &tree);
    fs::write(tree.join("conf.d/3/f3.yaml"), "changed: true\n").unwrap();
    fs::rename(tree.join("conf.d/4"), tree.join("moved")).unwrap();
    fs::remove_file(tree.join("conf.d/5/f5.yaml")).unwrap();
    watching.terminate();
    assert_eq!(watching.expect_exit(PATIENCE), 0, "{}", watching.log_tail());
    let second = things(&tree);
    assert!(newest(replica) > number);

    let back = |name: &str, more: &[&str]| {
        let target = dir.path().join(name);
        restore(replica, "files", &[&["-o", target.to_str().unwrap()], more].concat()).expect(0);
        things(&target)
    };
    assert_same(&back("newest", &[]), &second);
    assert_same(&back("older", &["--snapshot", &number.to_string()]), &first);
    restore(replica, "verify", &["--all", "--full"]).expect(0);
    restore(replica, "drill", &[]).expect(0);
    syncer(replica, "check", &tree, &[]).expect(0);
    watching.log()
}

/// Another pod takes the tree over; the first one stops and has overwritten nothing.
fn fence(replica: &Replica) {
    let ((_a, mine), (_b, others)) = (tree(), tree());
    fs::write(mine.join("config.yaml"), "mine").unwrap();
    fs::write(others.join("config.yaml"), "the other's").unwrap();
    let mut first = watch(replica, &mine);
    first.wait_for_log(PATIENCE, "\"committed\"");
    syncer(replica, "snapshot", &others, &[]).expect(3);
    syncer(replica, "snapshot", &others, &["--adopt"]).expect(0);
    fs::write(mine.join("config.yaml"), "mine again").unwrap();
    assert_eq!(first.expect_exit(PATIENCE), 5, "{}", first.log_tail());
    let (_c, back) = tree();
    restore(replica, "files", &["-o", back.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read_to_string(back.join("config.yaml")).unwrap(), "the other's");
}

/// Every object of a prefix, each version once.
fn versions(server: &Server, prefix: &str) -> Vec<String> {
    let query = format!("prefix={}%2F&versions=", prefix.replace('/', "%2F"));
    let listed = server.client().send("GET", "", &query, &[], b"").unwrap().text();
    listed.split("<Key>").skip(1).filter_map(|rest| Some(rest.split('<').next()?.to_owned())).collect()
}

#[test]
fn minio_holds_a_tree_also_in_a_bucket_with_versions() {
    let Some(server) = minio("keeping files on MinIO") else { return };
    let log = keep_and_bring_back(&server.replica(BUCKET, "plain/files"));
    assert!(!log.contains("ignores If-None-Match"), "{log}");

    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let reply = server.client().send("PUT", "", "versioning=", &[], on).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    keep_and_bring_back(&server.replica(BUCKET, "versioned/files"));
    // Create-only also means: no version on top of another.
    let mut keys = versions(&server, "versioned/files");
    keys.retain(|key| ["/m/", "/p/", "/b/", "/repo.json"].iter().any(|part| key.contains(part)));
    let mut distinct = keys.clone();
    distinct.dedup();
    assert!(keys.len() >= 7 && keys == distinct, "{keys:?}");
}

#[test]
fn minio_with_a_second_writer_of_a_tree_fences_the_first() {
    let Some(server) = minio("the fence of files on MinIO") else { return };
    fence(&server.replica(BUCKET, "fence/files"));
}

/// P6: neither of these may look like an empty replica, to a restore as little as to a writer.
#[test]
fn minio_without_the_bucket_or_with_a_wrong_key_is_no_empty_replica_of_files() {
    let Some(server) = minio("how MinIO's refusals look to files") else { return };
    let (dir, tree) = tree();
    fs::write(tree.join("a"), "1").unwrap();
    let wrong_key = Replica::at(&server.endpoint(), BUCKET, "some/files", server.env("not-the-secret"));
    for (replica, names) in
        [(server.replica("no-such-bucket", "some/files"), "bucket"), (wrong_key, "credentials")]
    {
        let target = dir.path().join("never");
        for more in [&[][..], &["--if-replica-exists"]] {
            let asked = restore(&replica, "files", &[&["-o", target.to_str().unwrap()], more].concat());
            assert!(![0, 3].contains(&asked.exit) && asked.stderr.contains(names), "{asked:?}");
        }
        let written = syncer(&replica, "snapshot", &tree, &[]);
        assert!(![0, 3, 6].contains(&written.exit) && written.stderr.contains(names), "{written:?}");
        println!("{names}: exit {}", written.exit);
        assert!(!target.exists());
    }
}

#[test]
fn minio_gives_rclone_the_tree_that_was_exported_as_a_mirror() {
    let Some(server) = minio("that rclone pulls an exported mirror from MinIO") else { return };
    let replica = server.replica(BUCKET, "web/files");
    let (dir, tree) = tree();
    plant(&tree);
    syncer(&replica, "snapshot", &tree, &[]).expect(0);
    let mirror = server.replica(BUCKET, "mirror/files");
    let mut export = replica.ours("config-syncer");
    export.args(["export", &replica.url, "--to", "mirror", "-o", &mirror.url]);
    run(export).expect(0);
    let back = dir.path().join("back");
    let rclone = Rclone::of_another(&server);
    if rclone.pull("mirror/files", &back) {
        assert_same(&mirrored(&back), &mirrored(&tree));
    }
}

/// The old loop ran over a bucket with versions: what it replaced and removed lies there still, and is no file of the tree.
#[test]
fn minio_with_versions_gives_an_import_only_what_is_current() {
    let Some(server) = minio("importing a mirror from a bucket with versions") else { return };
    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(server.client().send("PUT", "", "versioning=", &[], on).unwrap().status, 200);
    let (dir, tree) = tree();
    let rclone = Rclone::of_another(&server);
    for version in 1..=3 {
        fs::write(tree.join("config.yaml"), format!("version: {version}\n")).unwrap();
        fs::write(tree.join(format!("only-{version}")), "x").unwrap();
        let _ = fs::remove_file(tree.join(format!("only-{}", version - 1)));
        if !rclone.sync(&tree, Rclone::remote("old/config"), &["--metadata"]) {
            return;
        }
    }
    assert_eq!(versions(&server, "old/config").len(), 8, "three of one, one each of three, and two removals");
    let mut import = server.replica(BUCKET, "web/files").ours("config-syncer");
    let back = dir.path().join("back");
    import.args(["import", "--from", &server.replica(BUCKET, "old/config").url]);
    import.arg(&back).arg(&server.replica(BUCKET, "web/files").url);
    run(import).expect(0);
    assert_same(&mirrored(&back), &mirrored(&tree));
    assert_eq!(fs::read_to_string(back.join("config.yaml")).unwrap(), "version: 3\n");
    assert_eq!(versions(&server, "old/config").len(), 8, "the mirror is only read");
}

#[test]
fn garage_holds_a_tree_and_the_syncer_says_what_it_cannot_promise() {
    let Some(server) = garage("keeping files on Garage") else { return };
    let replica = server.replica(BUCKET, "some/files");
    let log = keep_and_bring_back(&replica);
    assert_eq!(log.matches("ignores If-None-Match").count(), 1, "{log}");
    let (_dir, tree) = tree();
    let checked = syncer(&replica, "check", &tree, &["--adopt"]);
    assert!(checked.stdout.contains("does NOT refuse a second create"), "{checked:?}");
}

/// It looks before it commits: a second writer that has committed is noticed, two at the same instant are not.
#[test]
fn garage_with_a_second_writer_of_a_tree_still_stops_the_first() {
    let Some(server) = garage("what is left of the fence of files on Garage") else { return };
    fence(&server.replica(BUCKET, "fence/files"));
}
