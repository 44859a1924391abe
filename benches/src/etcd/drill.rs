//! Proofs from outside: `etcd-shipper verify` opens and proves what is stored, `etcd-shipper drill` restores it into a running etcd.
//!
//! The drill's container has one memory limit for etcd-shipper, etcd's tools and etcd itself, so all of them are looked at.

use super::family::{Family, watching};
use super::run::Run;
use super::scene::Scene;
use crate::sample::mib;
use crate::section::attempt;
use crate::table::Table;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// What the components give a drill.
const LIMIT_MIB: u64 = 640;

/// Measures and prints on what is in the cluster.
pub(super) fn measure(scene: &Scene) -> Result<Value> {
    let bytes = scene.settle()?;
    scene.ship()?;
    let head = ["", "seconds", "CPU", "program", "peak RSS", "of it not a file's"];
    let mut table = Table::new(format!("Proofs of a snapshot of {}", mib(bytes as f64)), &head);
    let mut numbers = json!({ "bytes": bytes });
    for (name, verb) in
        [("`etcd-shipper verify`", &["verify"][..]), ("`etcd-shipper drill`", &["drill", "--newest-only"])]
    {
        let (run, family) = watching("etcd-shipper", || attempt(|| scene.shipper(verb)));
        let run = run.map_err(anyhow::Error::msg)?;
        ensure!(!family.members.is_empty(), "{name} was over before anybody looked");
        rows(&mut table, name, &run, &family);
        let peak = family.members["etcd-shipper"].0;
        table.note(format!(
            "{name}: all of them together held at most {} at one time that is not a file's ({LIMIT_MIB} MiB is the limit of the drill's container).",
            mib(family.together as f64)
        ));
        numbers[verb[0]] = json!({
            "seconds": run.seconds, "cpu": run.cpu, "peak": peak, "together": family.together,
            "programs": family.members.iter().map(|(name, (resident, anonymous))| {
                json!({ "name": name, "peak": resident, "anonymous": anonymous })
            }).collect::<Vec<_>>(),
        });
    }
    scene.forget()?;
    println!("{table}");
    Ok(numbers)
}

fn rows(table: &mut Table, name: &str, run: &Run, family: &Family) {
    let mut what = [name.to_owned(), format!("{:.2}", run.seconds), format!("{:.2} s", run.cpu)];
    for (program, (resident, anonymous)) in &family.members {
        let memory = [format!("`{program}`"), mib(*resident as f64), mib(*anonymous as f64)];
        table.row([&what[..], &memory].concat());
        what = Default::default();
    }
}
