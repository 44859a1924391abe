//! `cargo xtask dist`: the small static binaries that go into the images.

use crate::tools::has;
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-musl";
const BINARIES: [&str; 2] = ["wal-streamer", "restore"];

/// Builds with the `dist` profile, statically where the musl target is there, and prints the sizes.
fn build(target: Option<&str>) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--profile", "dist"]);
    for binary in BINARIES {
        cargo.args(["-p", binary]);
    }
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    crate::tools::run(&mut cargo)?;
    let dir = match target {
        Some(target) => format!("target/{target}/dist"),
        None => "target/dist".to_owned(),
    };
    for binary in BINARIES {
        let path = format!("{dir}/{binary}");
        let size = fs::metadata(&path).with_context(|| path.clone())?.len();
        println!("{path}: {:.1} MiB", size as f64 / f64::from(1 << 20));
    }
    Ok(())
}

/// Builds statically if it can.
pub(crate) fn run() -> Result<()> {
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
    let musl = installed.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(TARGET));
    if musl && has("musl-gcc") {
        return build(Some(TARGET));
    }
    println!(
        "no static build: it needs `rustup target add {TARGET}` and the package musl-tools; building for this host"
    );
    build(None)
}
