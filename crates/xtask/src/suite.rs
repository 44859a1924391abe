//! `cargo xtask test`: everything, on a clean machine too. What cannot be had is named, and what it would have proven.

use crate::tools::{self, MINIO, etcd, go_program, has, install, litestream_vfs};
use crate::{dist, e2e, images, manifests};
use anyhow::{Result, ensure};
use std::process::Command;

/// Shared objects of both page-encoding generations of Litestream 0.5.
const LITESTREAM_VFS: [(&str, &str); 2] =
    [("0.5.15", "HIGHWATER_LITESTREAM_VFS_OLD"), ("0.5.17", "HIGHWATER_LITESTREAM_VFS_NEW")];
/// One of each page encoding; v0.5.6 is not in the module proxy, v0.5.5 is of the same encoding.
const LITESTREAM: [(&str, &str); 2] =
    [("v0.5.5", "HIGHWATER_LITESTREAM_OLD"), ("latest", "HIGHWATER_LITESTREAM_NEW")];

/// etcd's minor versions beside the distribution's 3.4; from 3.6 on restoring is `etcdutl`'s alone.
const ETCD: [&str; 2] = ["v3.5.35", "v3.6.16"];

/// The newest version of Task that the Go toolchain of the tests compiles.
const TASK: (&str, &str) = ("github.com/go-task/task/v3/cmd/task", "v3.44.1");

/// Feature of the end-to-end tests that need other programs or much time.
const FULL_TIER: &str = "e2e/full";

/// Runs all tests; `full` adds the long ones and those against other servers.
pub(crate) fn run(full: bool) -> Result<()> {
    install(&[
        ("sqlite3", "sqlite3"),
        ("zstd", "zstd"),
        ("age", "age"),
        ("python3", "python3"),
        ("jq", "jq"),
        ("faketime", "faketime"),
        ("promtool", "prometheus"),
        ("etcd", "etcd-server"),
        ("etcdctl", "etcd-client"),
        ("rclone", "rclone"),
        ("setfacl", "acl"),
        ("strace", "strace"),
        ("bindfs", "bindfs"),
        ("mkfs.ext4", "e2fsprogs"),
        ("debugfs", "e2fsprogs"),
    ]);
    tools::run(Command::new("cargo").args(["fmt", "--all", "--check"]))?;
    tools::run(Command::new("cargo").args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        FULL_TIER,
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;

    let mut tests = Command::new("cargo");
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    for (version, variable) in LITESTREAM_VFS {
        match litestream_vfs(version) {
            Some(path) => drop(tests.env(variable, path)),
            None => println!(
                "SKIP interoperability with litestream-vfs {version}: its Python package could not be fetched"
            ),
        }
    }
    if !full {
        println!(
            "SKIP (only with --full): the litestream command, MinIO, Garage, etcd 3.5 and 3.6, a database beyond 1 GiB, 1,000 kills, soaks"
        );
    } else {
        tests.env("HIGHWATER_FULL", "1").args(["--features", FULL_TIER]);
        for (version, variable) in LITESTREAM {
            match go_program("github.com/benbjohnson/litestream/cmd/litestream", version, "litestream") {
                Some(path) => drop(tests.env(variable, path)),
                None => println!("SKIP interoperability with litestream {version}: it could not be built"),
            }
        }
        match go_program(MINIO.0, MINIO.1, "minio") {
            Some(path) => drop(tests.env("HIGHWATER_MINIO", path)),
            None => println!("SKIP MinIO: it could not be built"),
        }
        match go_program(TASK.0, TASK.1, "task") {
            Some(path) => drop(tests.env("HIGHWATER_TASK", path)),
            None => println!("SKIP the Taskfile of docs/gitops.md: `task` could not be built"),
        }
        if has("garage") {
            tests.env("HIGHWATER_GARAGE", "garage");
        } else {
            println!("SKIP Garage: install it with `cargo install garage` (about 10 minutes)");
        }
    }
    // The end-to-end tests start these; with the tests, so that dependencies are compiled once with one set of features.
    tools::run(Command::new("cargo").args([
        "build",
        "--workspace",
        "--all-targets",
        "--features",
        FULL_TIER,
    ]))?;
    let mut failed = Vec::new();
    let mut note = |part: &str, result: Result<()>| {
        if let Err(error) = result {
            println!("FAILED {part}: {error:#}");
            failed.push(part.to_owned());
        }
    };
    note("tests", tools::run(&mut tests));
    if full {
        for version in ETCD {
            let Some(dir) = etcd(version) else {
                println!("SKIP etcd {version}: it could not be built");
                continue;
            };
            println!("etcd {version}");
            // What starts an etcd, of the whole workspace: a choice of packages would be compiled anew, with other features.
            let again = tools::run(
                Command::new("cargo")
                    .args(["test", "--workspace", "--features", FULL_TIER, "--no-fail-fast"])
                    .args(["--lib", "--test", "snapshots", "--test", "verbs", "--test", "restore_etcd"])
                    .env("HIGHWATER_ETCD_DIR", dir),
            );
            note(&format!("etcd {version}"), again);
        }
    }
    // After the build: what manifests and pages call is asked of the binaries.
    note("manifests", manifests::run(true, full));
    if full {
        // What ships is what runs in the containers. Its arm64 twin is judged as an image only.
        let is_static = dist::run(true);
        let shipped = matches!(is_static, Ok(true));
        note("static binaries", is_static.map(drop));
        match shipped {
            true => note("images", images::build()),
            false => println!("SKIP images: there are no static binaries"),
        }
        for minio in [false, true] {
            note(if minio { "e2e against MinIO" } else { "e2e" }, e2e::run(shipped, minio));
        }
    } else {
        println!("SKIP (only with --full): static binaries, images, pods in containers, the Kyverno CLI");
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
