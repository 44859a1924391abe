//! `cargo xtask e2e`: rendered examples as running containers, which lose their volume and come back.
//!
//! The manifests are the golden files, taken as they are; only bucket, endpoint, recipient and debounce are those of the test. One pod keeps a
//! database and writes without end; the other one is a real application (PocketBase) with databases, uploads and configuration files, sealed.
//! Needs root, `podman`, `runc`, `ip` and `age`; what is missing is printed, and then nothing is claimed.
//! Proves: P1, P2 and P4 through images, mounts, users and the kubelet's order; that every start hands over what it did.

mod bad_pods;
mod cluster;
mod container;
mod content;
mod kubelet;
mod ledger;
mod network;
mod notes;
mod probe;
mod store;
mod whole_pod;

use crate::tools::{MINIO, go_program, has, install};
use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use kubelet::podman;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::Kind;

const ONE_DATABASE: &str = "examples/rendered/variants-one-database.yaml";
const WHOLE_POD: &str = "examples/rendered/variants-database-and-files.yaml";
/// Image name in the manifests and the binary in it.
const OURS: [(&str, &str); 3] = [
    ("registry.example/highwater/restore", "restore"),
    ("registry.example/highwater/wal-streamer", "wal-streamer"),
    ("registry.example/highwater/config-syncer", "config-syncer"),
];
/// The newest version that the Go toolchain of the tests compiles.
const POCKETBASE: (&str, &str) = ("github.com/pocketbase/pocketbase/examples/base", "v0.36.8");

/// Runs all scenarios one after another; `shipped`: in the images that `cargo xtask dist` and the Containerfiles make; `minio`: against that server,
/// built from its module, instead of the embedded one.
pub(crate) fn run(shipped: bool, minio: bool) -> Result<()> {
    install(&[("podman", "podman"), ("runc", "runc"), ("ip", "iproute2"), ("age-keygen", "age")]);
    let programs = ["podman", "runc", "ip", "age-keygen"];
    let missing: Vec<&str> = programs.into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() || !is_root() {
        println!(
            "SKIP e2e in containers (18 scenarios): it needs root, podman, runc, ip and age-keygen (missing: {})",
            missing.join(", ")
        );
        return Ok(());
    }
    if let Err(error) = network::possible() {
        println!("SKIP e2e in containers (18 scenarios): no network namespaces here: {error:#}");
        return Ok(());
    }
    let store = if minio {
        let Some(program) = go_program(MINIO.0, MINIO.1, "minio") else {
            println!("SKIP e2e in containers against MinIO (18 scenarios): it could not be built");
            return Ok(());
        };
        Kind::Minio(program)
    } else {
        Kind::Embedded
    };
    println!("e2e against {store}");
    let one = deployment(ONE_DATABASE)?;
    let whole = deployment(WHOLE_POD)?;
    for (image, binary) in OURS {
        let name = format!("{image}:{}", tag(&[&one, &whole], image)?);
        match shipped {
            true => ship(&name, binary)?,
            false => build(&name, binary, &testkit::procs::bin(binary))?,
        }
    }
    let name = format!("ghcr.io/example/hw-app:{}", tag(&[&one], "ghcr.io/example/hw-app")?);
    build(&name, "hw-app", &testkit::procs::bin("hw-app"))?;
    let mut ledger = ledger::Ledger(Cluster::new(one, store.clone())?);
    let mut passed = ledger.run()?;
    passed += bad_pods::run(&mut ledger.0)?;
    let mut skipped = 0;
    match go_program(POCKETBASE.0, POCKETBASE.1, "base") {
        Some(path) => {
            let name =
                format!("ghcr.io/example/pocketbase:{}", tag(&[&whole], "ghcr.io/example/pocketbase")?);
            build(&name, "pocketbase", &path)?;
            passed += whole_pod::WholePod(Cluster::new(whole, store)?).run(shipped)?;
        }
        None => {
            println!(
                "SKIP e2e of a pod with databases and files: PocketBase {} could not be built",
                POCKETBASE.1
            );
            skipped += 5;
        }
    }
    println!("e2e: {passed} passed, 0 failed, {skipped} skipped");
    Ok(())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"))
}

fn deployment(path: &str) -> Result<Value> {
    let documents = crate::manifests::parse(&fs::read_to_string(path)?)?;
    documents
        .into_iter()
        .find(|d| d["kind"] == "Deployment")
        .with_context(|| format!("{path} has no Deployment"))
}

/// The tag that the first manifest with this image names.
fn tag(manifests: &[&Value], image: &str) -> Result<String> {
    let texts = manifests.iter().map(|m| m.to_string());
    let mut tags =
        texts.filter_map(|text| Some(text.split(&format!("{image}:")).nth(1)?.split('"').next()?.to_owned()));
    tags.next().with_context(|| format!("no manifest names the image {image}"))
}

/// An image from `scratch` with a program of this build and the libraries it is linked with (a static one has none).
fn build(image: &str, name: &str, program: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("root");
    fs::create_dir_all(root.join("tmp"))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    // Symbols of a debug build are most of its size, and copied with every layer.
    let strip = Command::new("strip").arg("-o").arg(root.join(name)).arg(program).status();
    if !strip.is_ok_and(|s| s.success()) {
        fs::copy(program, root.join(name))?;
    }
    let linked = Command::new("ldd").arg(program).output()?;
    for library in
        String::from_utf8_lossy(&linked.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let target = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(target.parent().context("a library has a folder")?)?;
        fs::copy(library, target)?;
    }
    let file = format!("FROM scratch\nCOPY root/ /\nUSER 65532:65532\nENTRYPOINT [\"/{name}\"]\n");
    fs::write(scratch.path().join("Containerfile"), file)?;
    podman_build(image, &[], scratch.path())
}

/// The image that is shipped: the static binary through its Containerfile.
fn ship(image: &str, binary: &str) -> Result<()> {
    crate::images::stage(binary, "amd64", crate::dist::AMD64)?
        .with_context(|| format!("no static {binary}: run `cargo xtask dist` first"))?;
    let file = format!("images/{binary}/Containerfile");
    podman_build(image, &["--file", &file, "--build-arg", "BINARIES=prebuilt"], &PathBuf::from("."))
}

fn podman_build(image: &str, more: &[&str], context: &Path) -> Result<()> {
    let out = podman()
        .args(["build", "--quiet", "--isolation", "chroot", "--tag", image])
        .args(more)
        .arg(context)
        .output()?;
    ensure!(out.status.success(), "podman build {image}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
