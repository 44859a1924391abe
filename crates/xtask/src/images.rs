//! `cargo xtask images`: the container images from the static binaries of `cargo xtask dist`, and whether they are what was promised:
//! the binary and the CA certificates and nothing else, small, not root, labelled.
//!
//! Needs `buildah`; base images are not pulled. What is missing is named, and fails only when nothing at all could be built.

use crate::tools::{has, install, run};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARIES: [&str; 4] = ["wal-streamer", "config-syncer", "restore", "etcd-shipper"];
const DIR: &str = "target/images";
const ARCHES: [(&str, &str); 2] =
    [("amd64", "x86_64-unknown-linux-musl"), ("arm64", "aarch64-unknown-linux-musl")];
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The promise: a stripped static binary of at most 12 MiB.
const BUDGET: u64 = 12 << 20;

fn buildah(args: &[&str]) -> Command {
    let mut command = Command::new("buildah");
    command.args(["--storage-driver", "vfs", "--root", "target/images/storage"]).args(args);
    command
}

fn said(args: &[&str]) -> Result<String> {
    let out = buildah(args).output().context("buildah")?;
    ensure!(
        out.status.success(),
        "buildah {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(String::from_utf8(out.stdout)?.trim().to_owned())
}

/// Builds and judges every image whose binary is there.
pub(crate) fn build() -> Result<()> {
    install(&[("buildah", "buildah")]);
    ensure!(has("buildah"), "buildah is not installed");
    fs::create_dir_all(DIR)?;
    fs::copy(CERTIFICATES, Path::new(DIR).join("ca-certificates.crt")).context(CERTIFICATES)?;
    let mut built = 0;
    for (arch, triple) in ARCHES {
        for name in BINARIES {
            let source = PathBuf::from(format!("target/{triple}/dist/{name}"));
            if !source.is_file() {
                println!(
                    "SKIP image {name} for {arch}: {} is not there (cargo xtask dist)",
                    source.display()
                );
                continue;
            }
            let dir = Path::new(DIR).join(arch);
            fs::create_dir_all(&dir)?;
            fs::copy(&source, dir.join(name))?;
            judge(name, arch)?;
            built += 1;
        }
    }
    if built == 0 { bail!("no image was built") } else { Ok(()) }
}

fn judge(name: &str, arch: &str) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("localhost/{name}:{version}-{arch}");
    let (file, platform) = (format!("images/{name}/Containerfile"), format!("linux/{arch}"));
    let arguments = [
        "bud",
        "--quiet",
        "--isolation",
        "chroot",
        "--build-arg",
        "BINARIES=prebuilt",
        "--platform",
        &platform,
    ];
    run(buildah(&arguments).args(["-f", &file, "-t", &image, "."]).stdout(std::process::Stdio::null()))?;

    let config: serde_json::Value = serde_json::from_str(&said(&["inspect", "--type", "image", &image])?)?;
    let config = &config["OCIv1"];
    ensure!(config["config"]["User"] == "65532:65532", "{image} runs as {}", config["config"]["User"]);
    ensure!(
        config["config"]["Entrypoint"][0] == format!("/{name}"),
        "{image} starts {}",
        config["config"]["Entrypoint"]
    );
    ensure!(config["architecture"] == arch, "{image} is for {}", config["architecture"]);
    for label in ["title", "description", "licenses", "version", "revision"] {
        let value = &config["config"]["Labels"][format!("org.opencontainers.image.{label}")];
        ensure!(value.as_str().is_some_and(|v| !v.is_empty()), "{image} has no label {label}");
    }

    let container = said(&["from", &image])?;
    let root = said(&["mount", &container])?;
    let files = files(Path::new(&root))?;
    said(&["rm", &container])?;
    let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    ensure!(names == ["etc/ssl/certs/ca-certificates.crt", name], "{image} holds {}", names.join(", "));
    let size = files.iter().find(|(path, _)| path == name).map_or(0, |(_, size)| *size);
    let mebibytes = size as f64 / f64::from(1 << 20);
    ensure!(size <= BUDGET, "{image}: the binary has {mebibytes:.1} MiB, more than 12");
    println!("{image}: {mebibytes:.1} MiB and the CA certificates");
    Ok(())
}

/// Files below a folder with their sizes, by name.
fn files(root: &Path) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root)?.display().to_string();
                found.push((name, entry.metadata()?.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}
