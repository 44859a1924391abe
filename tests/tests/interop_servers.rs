//! Object stores that other people wrote: MinIO, which keeps every promise of S3 that we build on, and Garage, which
//! takes a create-only put twice and so is the real case of the weaker mode.
//!
//! Both are large programs to build, so this is part of `cargo xtask test --full`. Each test starts a server of its own
//! on the loopback interface, with an empty directory, and ends it.

use e2e::interop::{AppDb, PATIENCE, Replica, assert_same, stop, verified};
use e2e::servers::{Server, garage, minio};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::s3::BUCKET;

/// The suite that every store has to pass, over the network.
#[track_caller]
fn conforms(server: &Server) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "-q", "-p", "store", "--test", "conformance", "--", "--exact", "--nocapture"]);
    cargo.arg("a_server_outside").current_dir(workspace).envs(server.env(server.secret()));
    cargo.env("HIGHWATER_TEST_S3_URL", &server.replica(BUCKET, "conformance").url);
    let tested = cargo.output().expect("cargo starts");
    let said = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(tested.status.success(), "{}{said}", String::from_utf8_lossy(&tested.stdout));
    said
}

/// Stream, restart, shrink, grow; restore; and once more.
fn stream_and_restore(replica: &Replica) -> String {
    let data = AppDb::new(4096);
    let streamer = replica.stream(&data, &[]);
    data.write(60);
    stop(streamer);
    let streamer = replica.stream(&data, &[]);
    data.fill("randomblob(3000)");
    data.write(60);
    data.shrink();
    data.write(60);
    let log = stop(streamer);
    let restored = data.scratch("restored.db");
    let said = replica.restore(&restored, &[]);
    assert!(said.contains("proven by its rolling checksum"), "{said}");
    assert_same("restore", &data.kept(), &restored);
    assert_eq!(verified(&restored).last_seq, 181);
    assert!(replica.points().len() >= 4);
    log
}

#[test]
fn minio_passes_the_conformance_suite() {
    let Some(server) = minio("that MinIO is a store for us") else { return };
    let said = conforms(&server);
    assert!(said.contains("create-only puts are honoured"), "{said}");
}

#[test]
fn minio_holds_a_replica_also_in_a_bucket_with_versions() {
    let Some(server) = minio("streaming to MinIO") else { return };
    let log = stream_and_restore(&server.replica(BUCKET, "plain/app"));
    assert!(!log.contains("single-writer mode"), "{log}");

    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let reply = server.client().send("PUT", "", "versioning=", &[], on).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    stream_and_restore(&server.replica(BUCKET, "versioned/app"));

    // Create-only also means: no version on top of another.
    let versions =
        server.client().send("GET", "", "prefix=versioned%2F&versions=", &[], b"").expect("an answer").text();
    let keys: Vec<_> = versions.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    let files: Vec<_> = keys.iter().filter(|key| key.ends_with(".ltx")).collect();
    let mut distinct = files.clone();
    distinct.dedup();
    assert!(files.len() >= 4 && files == distinct, "{keys:?}");
}

#[test]
fn minio_with_a_second_writer_fences_the_first() {
    let Some(server) = minio("the fence on MinIO") else { return };
    let (data, replica) = (AppDb::new(4096), server.replica(BUCKET, "fence/app"));
    let mut first = replica.stream(&data, &[]);
    let other = AppDb::new(4096);
    other.write(5);
    assert_eq!(replica.stream_once(&other, &[]).0, 3, "a stranger is refused");
    let (exit, log) = replica.stream_once(&other, &["--adopt"]);
    assert_eq!(exit, 0, "{log}");
    data.write(5);
    assert_eq!(first.expect_exit(PATIENCE), 5, "{}", first.log_tail());
    let restored = data.scratch("restored.db");
    replica.restore(&restored, &[]);
    assert_same("the second writer's", &other.kept(), &restored);
}

/// P6: neither of these may look like an empty replica, to a restore as little as to a writer.
#[test]
fn minio_without_the_bucket_or_with_a_wrong_key_is_an_error() {
    let Some(server) = minio("how MinIO's refusals look") else { return };
    let data = AppDb::new(4096);
    let wrong_key = Replica::at(&server.endpoint(), BUCKET, "some/app", server.env("not-the-secret"));
    for (replica, names) in
        [(server.replica("no-such-bucket", "some/app"), "bucket"), (wrong_key, "credentials")]
    {
        for options in [&[][..], &["--if-replica-exists"]] {
            let error = replica.try_restore(&data.scratch("never.db"), options).expect_err("an error");
            assert!(error.contains(names), "{error}");
        }
        let mut streamer = replica.start_stream(&data, &["--once"]);
        let exit = streamer.expect_exit(PATIENCE);
        assert!(exit != 0 && streamer.log().contains(names), "{exit}: {}", streamer.log_tail());
        println!("{names}: exit {exit}");
    }
    assert!(!data.scratch("never.db").exists());
}

#[test]
fn minio_holds_what_litestream_restores() {
    let proves = "that litestream restores from MinIO what we wrote";
    let variables = ["HIGHWATER_LITESTREAM_OLD", "HIGHWATER_LITESTREAM_NEW"];
    let Some(server) = minio(proves) else { return };
    for (i, variable) in variables.into_iter().enumerate() {
        let Some(litestream) = e2e::interop::Litestream::from_env(variable, proves) else { continue };
        let (data, replica) = (AppDb::new(4096), server.replica(BUCKET, &format!("shared/{i}")));
        stop(replica.stream(&data, &[]));
        data.write(50);
        assert_eq!(replica.stream_once(&data, &[]).0, 0);
        let theirs = data.scratch("theirs.db");
        litestream.restore(&replica, &theirs, &[]);
        assert_same(variable, &data.kept(), &theirs);
    }
}

#[test]
fn garage_passes_the_conformance_suite_in_the_weaker_mode() {
    let Some(server) = garage("that Garage is a store for us") else { return };
    let said = conforms(&server);
    assert!(said.contains("create-only puts are ignored"), "{said}");
}

#[test]
fn garage_holds_a_replica_and_the_streamer_says_what_it_cannot_promise() {
    let Some(server) = garage("streaming to Garage") else { return };
    let log = stream_and_restore(&server.replica(BUCKET, "some/app"));
    assert_eq!(log.matches("single-writer mode").count(), 1, "{log}");
    assert!(server.replica(BUCKET, "some/app").try_restore(&PathBuf::from("/nonexistent/x"), &[]).is_err());
}
