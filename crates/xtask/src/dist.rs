//! `cargo xtask dist`: the small static binaries that go into the images, for this machine's architecture and, asked for, for arm64.
//!
//! amd64 needs the musl target of rustup and `musl-gcc`. arm64 is cross-compiled: the Rust target brings its own C library and start files,
//! `rust-lld` links, and the C parts (SQLite, zstd, ring) are compiled by the C compiler inside Zig, which comes as a Python package.
//! What was built is asked for its version (arm64 under `qemu-aarch64-static`), because a binary that links need not run.

use crate::tools::{cache, has, install};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const AMD64: &str = "x86_64-unknown-linux-musl";
pub(crate) const ARM64: &str = "aarch64-unknown-linux-musl";
/// Everything that goes into an image.
pub(crate) const BINARIES: [&str; 4] = ["wal-streamer", "config-syncer", "restore", "etcd-shipper"];
const ZIG: &str = "ziglang==0.13.0.post1";
const EMULATOR: &str = "qemu-aarch64-static";

/// Builds with the `dist` profile, statically where the target is there, and prints the sizes.
fn build(target: Option<&str>, environment: &[(&str, PathBuf)]) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--profile", "dist"]);
    for binary in BINARIES {
        cargo.args(["-p", binary]);
    }
    if let Some(target) = target {
        cargo.args(["--target", target]);
        // Said here and not in a file: where the target is the host, too, build scripts would be told, and those unwind.
        cargo.arg("--config").arg(format!("target.{target}.rustflags=[\"-C\", \"force-unwind-tables=no\"]"));
    }
    cargo.envs(environment.iter().map(|(name, value)| (*name, value)));
    // What highwater_build_info says.
    if let Some(revision) = revision() {
        cargo.env("HIGHWATER_REVISION", revision);
    }
    crate::tools::run(&mut cargo)?;
    let dir = match target {
        Some(target) => format!("target/{target}/dist"),
        None => "target/dist".to_owned(),
    };
    for binary in BINARIES {
        let path = PathBuf::from(format!("{dir}/{binary}"));
        let size = fs::metadata(&path).with_context(|| path.display().to_string())?.len();
        let version = version(&path, target)?;
        println!("{}: {:.1} MiB; {version}", path.display(), size as f64 / f64::from(1 << 20));
    }
    Ok(())
}

/// The commit, with a mark where the tree is not what was committed; `None` outside of a repository.
fn revision() -> Option<String> {
    let out = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output().ok()?;
    let said = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    (out.status.success() && !said.is_empty()).then_some(said)
}

/// What the binary says of itself, or why it could not be asked.
fn version(path: &Path, target: Option<&str>) -> Result<String> {
    let mut command = match target {
        Some(ARM64) if !has(EMULATOR) => return Ok(format!("not run: {EMULATOR} is not here")),
        Some(ARM64) => {
            let mut command = Command::new(EMULATOR);
            command.arg(path);
            command
        }
        _ => Command::new(path),
    };
    let out = command.arg("--version").output()?;
    ensure!(
        out.status.success(),
        "{} does not run: {}",
        path.display(),
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Builds statically if it can (then true); `arm64` for both architectures.
pub(crate) fn run(arm64: bool) -> Result<bool> {
    install(&[("musl-gcc", "musl-tools")]);
    let is_static = has_target(AMD64) && has("musl-gcc");
    if is_static {
        build(Some(AMD64), &[])?;
    } else {
        println!(
            "no static build: it needs `rustup target add {AMD64}` and the package musl-tools; building for this host"
        );
        build(None, &[])?;
    }
    if arm64 {
        install(&[(EMULATOR, "qemu-user-static")]);
        match zig() {
            Some(tools) if has_target(ARM64) => build(Some(ARM64), &tools)?,
            _ => println!(
                "SKIP binaries for arm64: they need `rustup target add {ARM64}` and the Python package {ZIG}"
            ),
        }
    }
    Ok(is_static)
}

/// Whether the target's standard library is there; asks rustup for it first.
fn has_target(target: &str) -> bool {
    let quiet = |args: &[&str]| Command::new("rustup").args(args).stderr(Stdio::null()).output();
    let listed = || {
        quiet(&["target", "list", "--installed"])
            .is_ok_and(|o| String::from_utf8_lossy(&o.stdout).lines().any(|line| line == target))
    };
    listed() || (quiet(&["target", "add", target]).is_ok_and(|o| o.status.success()) && listed())
}

/// Environment in which cargo compiles C for arm64 with the compiler of a Python package; `None` if it cannot be had.
fn zig() -> Option<Vec<(&'static str, PathBuf)>> {
    let dir = cache().join("zig");
    let python = dir.join("bin/python");
    if !python.is_file() {
        fs::create_dir_all(cache()).ok()?;
        let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).status().ok()?.success();
        let installed = Command::new(dir.join("bin/pip")).args(["install", "--quiet", ZIG]).status();
        if !made || !installed.is_ok_and(|s| s.success()) {
            return None;
        }
    }
    let python = std::path::absolute(&python).ok()?;
    // cc passes the Rust triple, which Zig does not know; it gets its own instead.
    let compiler = format!(
        "#!/bin/sh\nfor word; do shift; case $word in --target=*) ;; *) set -- \"$@\" \"$word\" ;; esac; done\n\
         exec {} -m ziglang cc -target aarch64-linux-musl -mno-outline-atomics \"$@\"\n",
        python.display()
    );
    let archiver = format!("#!/bin/sh\nexec {} -m ziglang ar \"$@\"\n", python.display());
    let script = |name: &str, text: String| {
        let path = std::path::absolute(dir.join(name)).ok()?;
        if fs::read_to_string(&path).unwrap_or_default() != text {
            fs::write(&path, text).ok()?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).ok()?;
        }
        Some(path)
    };
    Some(vec![
        ("CC_aarch64_unknown_linux_musl", script("arm64-cc", compiler)?),
        ("AR_aarch64_unknown_linux_musl", script("arm64-ar", archiver)?),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", PathBuf::from("rust-lld")),
    ])
}
