//! `cargo xtask images`: the container images from the static binaries of `cargo xtask dist`, and whether they are what was promised:
//! the binary and the CA certificates and nothing else, small, not root, labelled.
//!
//! Needs `buildah`; base images are not pulled. What is missing is named, and fails only when nothing at all could be built.

use crate::dist::{AMD64, ARM64, BINARIES};
use crate::tools::{etcd_for, has, install, run};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DIR: &str = "target/images";
const ARCHES: [(&str, &str); 2] = [("amd64", AMD64), ("arm64", ARM64)];
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What the image for drills holds beside, at the version that Containerfile.drill names.
const DRILL: [&str; 2] = ["etcd", "etcdutl"];
const ETCD: &str = "v3.6.5";
/// This machine in Go's words.
const GO_HOST: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
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
    let mut judged = Vec::new();
    for (arch, triple) in ARCHES {
        for name in BINARIES {
            if stage(name, arch, triple)?.is_none() {
                println!(
                    "SKIP image {name} for {arch}: no static binary for {triple} (cargo xtask dist --arm64)"
                );
                continue;
            }
            judged.push(judge(&Image { name, arch, drill: false }));
            if name != "etcd-shipper" {
                continue;
            }
            match etcd_for(ETCD, (arch != GO_HOST).then_some(arch)) {
                Some(programs) => {
                    for program in DRILL {
                        fs::copy(programs.join(program), Path::new(DIR).join(arch).join(program))?;
                    }
                    judged.push(judge(&Image { name, arch, drill: true }));
                }
                None => println!("SKIP image {name}-drill for {arch}: etcd {ETCD} could not be built"),
            }
        }
    }
    ensure!(!judged.is_empty(), "no image was built");
    // All are judged before one fails the task.
    let wrong: Vec<String> =
        judged.iter().filter_map(|j| j.as_ref().err()).map(|e| format!("{e:#}")).collect();
    println!("images: {} passed, {} failed", judged.len() - wrong.len(), wrong.len());
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

/// Puts a static binary and the CA certificates where the Containerfiles look; `None` if the binary was not built.
pub(crate) fn stage(name: &str, arch: &str, triple: &str) -> Result<Option<PathBuf>> {
    let source = PathBuf::from(format!("target/{triple}/dist/{name}"));
    if !source.is_file() {
        return Ok(None);
    }
    let dir = Path::new(DIR).join(arch);
    fs::create_dir_all(&dir)?;
    fs::copy(CERTIFICATES, Path::new(DIR).join("ca-certificates.crt")).context(CERTIFICATES)?;
    fs::copy(&source, dir.join(name))?;
    Ok(Some(source))
}

/// One image; `drill`: with the programs that a drill of an etcd snapshot starts.
struct Image<'a> {
    name: &'a str,
    arch: &'a str,
    drill: bool,
}

impl Image<'_> {
    fn tag(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!("localhost/{}:{version}{}-{}", self.name, if self.drill { "-drill" } else { "" }, self.arch)
    }

    /// Everything that may be in it, in the order of names.
    fn holds(&self) -> Vec<String> {
        let mut files = vec!["etc/ssl/certs/ca-certificates.crt".to_owned(), self.name.to_owned()];
        if self.drill {
            files.extend(DRILL.map(|program| format!("usr/local/bin/{program}")));
        }
        files.sort();
        files
    }
}

fn judge(one: &Image<'_>) -> Result<()> {
    let (image, Image { name, arch, drill }) = (one.tag(), one);
    let file = format!("images/{name}/Containerfile{}", if *drill { ".drill" } else { "" });
    let platform = format!("linux/{arch}");
    let mut arguments = vec!["bud", "--quiet", "--isolation", "chroot", "--platform", &platform];
    arguments.extend(["--build-arg", "BINARIES=prebuilt"]);
    if *drill {
        arguments.extend(["--build-arg", "ETCD=prebuilt-etcd"]);
    }
    run(buildah(&arguments).args(["-f", &file, "-t", &image, "."]).stdout(Stdio::null()))?;

    let config: serde_json::Value = serde_json::from_str(&said(&["inspect", "--type", "image", &image])?)?;
    let config = &config["OCIv1"];
    ensure!(config["config"]["User"] == "65532:65532", "{image} runs as {}", config["config"]["User"]);
    ensure!(
        config["config"]["Entrypoint"][0] == format!("/{name}"),
        "{image} starts {}",
        config["config"]["Entrypoint"]
    );
    ensure!(config["architecture"] == **arch, "{image} is for {}", config["architecture"]);
    for label in ["title", "description", "licenses", "version", "revision"] {
        let value = &config["config"]["Labels"][format!("org.opencontainers.image.{label}")];
        ensure!(value.as_str().is_some_and(|v| !v.is_empty()), "{image} has no label {label}");
    }

    let container = said(&["from", &image])?;
    let root = PathBuf::from(said(&["mount", &container])?);
    let files = files(&root)?;
    let machines: Result<Vec<String>> = files
        .iter()
        .filter(|(path, _)| !path.starts_with("etc/"))
        .map(|(path, _)| machine(&root.join(path)))
        .collect();
    said(&["rm", &container])?;
    let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    ensure!(names == one.holds(), "{image} holds {}", names.join(", "));
    let expected = if *arch == "arm64" { "arm64, static" } else { "amd64, static" };
    for machine in machines? {
        ensure!(machine == expected, "{image} holds a program for {machine}");
    }
    let size = files.iter().find(|(path, _)| path == name).map_or(0, |(_, size)| *size);
    let whole: u64 = files.iter().map(|(_, size)| size).sum();
    let mebibytes = |size: u64| size as f64 / f64::from(1 << 20);
    ensure!(size <= BUDGET, "{image}: the binary has {:.1} MiB, more than 12", mebibytes(size));
    println!("{image}: {:.1} MiB, of that {:.1} MiB {name}; {expected}", mebibytes(whole), mebibytes(size));
    Ok(())
}

/// Whom an ELF file is for, and whether it needs nothing else: read from its headers.
fn machine(path: &Path) -> Result<String> {
    let bytes = fs::read(path)?;
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let long = |at: usize| {
        bytes.get(at..at + 8).map_or(0, |b| b.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b)))
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "{} is no 64-bit ELF file", path.display());
    let name = match word(18) {
        62 => "amd64",
        183 => "arm64",
        _ => "an unknown machine",
    };
    // A program header of type INTERP (3) names the loader of a dynamically linked program.
    let (begin, size, count) = (long(32) as usize, usize::from(word(54)), usize::from(word(56)));
    let dynamic = (0..count).any(|n| word(begin + n * size) == 3);
    Ok(format!("{name}, {}", if dynamic { "dynamic" } else { "static" }))
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
