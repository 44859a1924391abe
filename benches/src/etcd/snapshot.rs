//! A snapshot out and back: `etcdctl snapshot save` alone, the usual pipeline, ours, and the way back; in turns, because a machine has better
//! and worse minutes. The median by seconds is shown, the peak is the highest.
//!
//! The read transaction is held while the stream runs: etcd cannot reuse pages meanwhile, so these seconds are what the cluster pays.

use super::run::{Run, median, push};
use super::scene::Scene;
use super::spool::spooling;
use crate::bench::Bench;
use crate::sample::{mib, percent};
use crate::section::{Measured, attempt, cells, number};
use crate::table::Table;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

/// Rounds of all programs in turn.
const ROUNDS: usize = 3;

/// Measures and prints.
pub(super) fn measure(bench: &Bench, scene: &Scene) -> Result<Value> {
    let bytes = scene.settle()?;
    let (mut saves, mut pipelines, mut ships, mut verifies, mut restores) = Default::default();
    let mut spool = 0;
    let file = scene.place.path().join("restored.db");
    let rounds = bench.sized(ROUNDS, 1);
    for _ in 0..rounds {
        push(&mut saves, attempt(|| scene.save()));
        push(&mut pipelines, attempt(|| scene.pipeline()));
        let (ship, largest) = spooling(|| attempt(|| scene.ship()));
        spool = spool.max(largest);
        push(&mut ships, ship);
        push(&mut verifies, attempt(|| scene.restore(&["verify"], &[])));
        push(
            &mut restores,
            attempt(|| scene.restore(&["etcd"], &["-o", &file.to_string_lossy(), "--force"])),
        );
        scene.forget()?;
    }
    let [save, pipeline, ship, verify, restore] =
        [saves, pipelines, ships, verifies, restores].map(|runs: Vec<Measured<Run>>| median(runs));
    let stream = ship.as_ref().ok().and_then(|run| run.stream);

    let head = ["", "seconds", "read transaction held", "CPU", "peak RSS", "sent", "requests"];
    let mut table = Table::new(format!("A snapshot of {}", mib(bytes as f64)), &head);
    let held = |seconds: Option<f64>| seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.2} s"));
    let alone = save.as_ref().ok().map(|run| run.seconds);
    for (name, run, held_for, peak) in [
        ("`etcdctl snapshot save` alone", &save, alone, true),
        ("`etcdctl` + `zstd` + `age` + `rclone rcat`", &pipeline, alone, false),
        ("`etcd-shipper ship`: proven, sealed, read back", &ship, stream, true),
        ("`restore verify --identity`", &verify, None, true),
        ("`restore etcd`", &restore, None, true),
    ] {
        let shown = cells(run, |run| {
            [
                format!("{:.2}", run.seconds),
                held(held_for),
                format!("{:.2} s", run.cpu),
                if peak { mib(run.usage.peak as f64) } else { "–".into() },
                mib(run.sent as f64),
                run.requests.to_string(),
            ]
        });
        table.row([vec![name.to_owned()], shown.to_vec()].concat());
    }
    table.note(format!("Medians of {rounds} runs in turn; peak RSS is the highest of them."));
    table.note(format!("Spool at its largest: {}, sealed, unlinked while open.", mib(spool as f64)));
    if let (Some(stream), Some(alone)) = (stream, alone) {
        table.note(format!("The stream took {} of `etcdctl`'s time alone.", percent(stream / alone)));
    }
    let json = |run: &Measured<Run>| {
        number(
            run,
            |run| json!({ "seconds": run.seconds, "cpu": run.cpu, "peak": run.usage.peak, "sent": run.sent, "requests": run.requests }),
        )
    };
    let numbers = json!({
        "bytes": bytes, "spool": spool, "stream_seconds": stream,
        "save": json(&save), "pipeline": json(&pipeline), "ship": json(&ship), "verify": json(&verify), "restore": json(&restore),
    });
    println!("{table}");
    let failed = [&ship, &verify, &restore].iter().find_map(|run| run.as_ref().err());
    ensure!(failed.is_none(), "{}", failed.map_or("", String::as_str));
    Ok(numbers)
}
