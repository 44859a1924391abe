//! Very many small keys: the proof keeps 400,000 of them in memory at a time and walks the file again for the rest, so both its memory and its
//! time are looked at below and above that number.

use super::load::Load;
use super::scene::Scene;
use crate::bench::Bench;
use crate::sample::mib;
use crate::section::attempt;
use crate::table::Table;
use anyhow::Result;
use serde_json::{Value, json};

/// Measures and prints with so many keys in turn.
pub(super) fn measure(bench: &Bench) -> Result<Value> {
    let head = ["", "snapshot", "seconds", "CPU", "peak RSS", "sent"];
    let mut table = Table::new("Very many keys", &head);
    let mut numbers = json!({});
    for keys in bench.sized([300_000, 1_000_000], [2_000, 5_000]) {
        let scene = Scene::new(bench, Load::many(keys))?;
        let bytes = scene.settle()?;
        let file = scene.place.path().join("restored.db");
        let restored = ["-o", &*file.to_string_lossy(), "--force"].map(str::to_owned);
        let restored: Vec<&str> = restored.iter().map(String::as_str).collect();
        for (name, run) in [
            ("`etcdctl snapshot save` alone", attempt(|| scene.save())),
            ("`etcd-shipper ship`", attempt(|| scene.ship())),
            ("`etcd-shipper verify`", attempt(|| scene.shipper(&["verify"]))),
            ("`restore etcd`", attempt(|| scene.restore(&["etcd"], &restored))),
        ] {
            let run = run.map_err(anyhow::Error::msg)?;
            table.row(vec![
                format!("{keys} keys: {name}"),
                mib(bytes as f64),
                format!("{:.2}", run.seconds),
                format!("{:.2} s", run.cpu),
                mib(run.usage.peak as f64),
                mib(run.sent as f64),
            ]);
            numbers[keys.to_string()][name] =
                json!({ "bytes": bytes, "seconds": run.seconds, "cpu": run.cpu, "peak": run.usage.peak });
        }
    }
    println!("{table}");
    Ok(numbers)
}
