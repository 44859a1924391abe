//! What a snapshot of etcd costs: `etcd-shipper` beside the usual pipeline, on a real etcd, one database, one store, one run.
//!
//! `benches etcd [--only snapshot|drill|keys]...`. A lone etcd from `$HIGHWATER_ETCD_DIR` or the path is filled through its own API until its file has
//! the wanted size; then out and back beside `etcdctl` + `zstd` + `age` + `rclone rcat` (`snapshot`), the proofs from outside and the memory of
//! everything that a drill starts (`drill`), and the same with very many small keys (`keys`). Every program is a process, the S3 server of the
//! test bench runs in this one. What is missing is named, and its row says so.
//! `HIGHWATER_BIN_DIR` names other binaries than those built for the benchmark: `cargo xtask dist` builds the static ones of the images.

mod drill;
mod family;
mod keys;
mod load;
mod run;
mod scene;
mod snapshot;
mod spool;

use crate::bench::Bench;
use crate::machine;
use anyhow::{Context, Result, bail};
use load::Load;
use scene::Scene;
use serde_json::json;
use std::fs;
use testkit::procs;

const SECTIONS: [&str; 3] = ["snapshot", "drill", "keys"];

/// Measures and prints what is asked for; all of it without a name.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut only = Vec::new();
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--only", Some(name)) if SECTIONS.contains(&name.as_str()) => only.push(name),
            _ => bail!(crate::USAGE),
        }
    }
    let wants = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    let bench = Bench::new(false)?;
    for program in ["etcd-shipper", "restore"] {
        procs::bin(program);
    }
    let machine = machine::describe(&bench, None)?;
    println!("# etcd snapshots\n\n{}\n", machine.text);
    let mut numbers = json!({ "machine": machine.json, "quick": bench.quick });
    if wants("snapshot") || wants("drill") {
        let scene = Scene::new(&bench, Load::large(bench.sized(2048u64, 24) << 20))?;
        if wants("snapshot") {
            numbers["snapshot"] = snapshot::measure(&bench, &scene)?;
        }
        if wants("drill") {
            numbers["drill"] = drill::measure(&scene)?;
        }
    }
    if wants("keys") {
        numbers["keys"] = keys::measure(&bench)?;
    }
    let path = bench.output.join("etcd.json");
    fs::write(&path, serde_json::to_string_pretty(&numbers)?).with_context(|| path.display().to_string())?;
    Ok(())
}
