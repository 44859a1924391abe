//! Programs the tests compare with: found, or installed from the distribution and the language registries.

use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a command and fails with its name if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    // What cargo tells xtask about its own package would make build scripts that read it run again, and half of the dependencies
    // be built again after every change between `cargo xtask` and plain cargo.
    for (variable, _) in env::vars_os() {
        let variable = variable.to_string_lossy();
        if variable.starts_with("CARGO_MANIFEST_") || variable.starts_with("CARGO_PKG_") {
            command.env_remove(&*variable);
        }
    }
    let status = command.status().with_context(|| format!("cannot start {}", name(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", name(command));
    }
    Ok(())
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command without showing what it prints.
fn quiet(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// True if `program` is on the path.
pub(crate) fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Distribution packages for programs that are missing; what cannot be installed is named, and its tests skip.
pub(crate) fn install(programs: &[(&str, &str)]) {
    let missing: Vec<_> = programs.iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let installed = has("apt-get") && quiet("id", &["-u"]) && {
        let mut args = vec!["install", "-y", "--no-install-recommends"];
        args.extend(&packages);
        quiet("apt-get", &["update"]) && quiet("apt-get", &args)
    };
    if !installed {
        println!("not installed: {} (the tests that need them print why they skip)", packages.join(", "));
    }
}

/// Where downloaded parts are kept between runs.
pub(crate) fn cache() -> PathBuf {
    Path::new("target").join("interop")
}

/// The released Litestream shared object of one version, from its Python package; `None` if it cannot be had.
pub(crate) fn litestream_vfs(version: &str) -> Option<PathBuf> {
    let dir = cache().join(format!("vfs-{version}"));
    let library = dir.join("litestream_vfs").join("litestream-vfs.so");
    if !library.is_file() {
        let wheels = dir.join("wheel");
        let package = format!("litestream-vfs=={version}");
        let wheels_text = wheels.to_string_lossy().into_owned();
        let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "-d", &wheels_text, &package];
        if !quiet("python3", &pip) {
            return None;
        }
        let wheel = wheels.read_dir().ok()?.filter_map(|e| Some(e.ok()?.path())).next()?;
        let unpack = ["-m", "zipfile", "-e", wheel.to_str()?, dir.to_str()?];
        if !quiet("python3", &unpack) {
            return None;
        }
    }
    library.canonicalize().ok()
}

/// MinIO publishes no release tags through the module proxy any more; this is its newest version there.
pub(crate) const MINIO: (&str, &str) = ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c");

/// A Go program at a version, built from its module; `None` if it cannot be had.
pub(crate) fn go_program(module: &str, version: &str, name: &str) -> Option<PathBuf> {
    let dir = cache().join(format!("{name}-{version}"));
    let program = dir.join(name);
    if !program.is_file() {
        std::fs::create_dir_all(&dir).ok()?;
        let bin = dir.canonicalize().ok()?;
        println!("building {name} {version}");
        let status = Command::new("go")
            .args(["install", &format!("{module}@{version}")])
            .env("GOBIN", bin)
            .env("GOFLAGS", "")
            .status();
        if !status.is_ok_and(|s| s.success()) {
            return None;
        }
    }
    program.canonicalize().ok()
}

/// Where Go keeps the sources of a module at a version, fetched if need be; `None` if they cannot be had.
pub(crate) fn go_module(module: &str, version: &str) -> Option<PathBuf> {
    let out = Command::new("go")
        .args(["mod", "download", "-json", &format!("{module}@{version}")])
        .env("GOFLAGS", "")
        .current_dir(env::temp_dir())
        .output()
        .ok()?;
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
    Some(PathBuf::from(said["Dir"].as_str()?))
}

/// A Go program whose module replaces others, which `go install` refuses: built where its module lies, with its own `go.mod`.
pub(crate) fn go_program_in_place(module: &str, version: &str, package: &str, name: &str) -> Option<PathBuf> {
    let dir = cache().join(format!("{name}-{version}"));
    let program = dir.join(name);
    if !program.is_file() {
        let sources = go_module(module, version)?;
        std::fs::create_dir_all(&dir).ok()?;
        let program = dir.canonicalize().ok()?.join(name);
        println!("building {name} {version}");
        let status = Command::new("go")
            // A module's archive holds the list of its vendored packages and not the packages.
            .args(["build", "-mod=readonly", "-o"])
            .arg(&program)
            .arg(package)
            .current_dir(sources)
            .env("GOFLAGS", "")
            .status();
        if !status.is_ok_and(|s| s.success()) {
            return None;
        }
    }
    program.canonicalize().ok()
}

/// `etcd`, `etcdctl` and `etcdutl` of one version in one directory; `None` if they cannot be had. Their modules replace
/// others, so `go install` refuses them; a small module that requires them does not.
pub(crate) fn etcd(version: &str) -> Option<PathBuf> {
    etcd_for(version, None)
}

/// As [`etcd`], for another architecture in Go's words.
pub(crate) fn etcd_for(version: &str, arch: Option<&str>) -> Option<PathBuf> {
    const PROGRAMS: [(&str, &str); 3] = [
        ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
        ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
        ("etcd", "go.etcd.io/etcd/server/v3"),
    ];
    let dir = cache().join(format!("etcd-{version}{}", arch.map(|a| format!("-{a}")).unwrap_or_default()));
    if !PROGRAMS.iter().all(|(name, _)| dir.join(name).is_file()) {
        std::fs::create_dir_all(&dir).ok()?;
        let imports: String = PROGRAMS.iter().map(|(_, path)| format!("import _ \"{path}\"\n")).collect();
        std::fs::write(dir.join("go.mod"), "module etcd-tools\n\ngo 1.24\n").ok()?;
        std::fs::write(dir.join("tools.go"), format!("//go:build tools\n\npackage tools\n\n{imports}"))
            .ok()?;
        println!("building etcd {version}");
        let go = |args: &[&str]| {
            // Without cgo they are static, as they must be in an image from `scratch`.
            let environment = [("GOFLAGS", ""), ("CGO_ENABLED", "0")];
            let arch = arch.map(|arch| ("GOARCH", arch));
            let status =
                Command::new("go").args(args).current_dir(&dir).envs(environment).envs(arch).status();
            status.is_ok_and(|status| status.success())
        };
        let wanted: Vec<String> = PROGRAMS.iter().map(|(_, path)| format!("{path}@{version}")).collect();
        let mut get = vec!["get"];
        get.extend(wanted.iter().map(String::as_str));
        let built = go(&get)
            && go(&["mod", "tidy"])
            && PROGRAMS.iter().all(|(name, path)| go(&["build", "-o", name, path]));
        if !built {
            return None;
        }
    }
    dir.canonicalize().ok()
}
