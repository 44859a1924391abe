//! How fast a tree comes back, from a store that answers at once and from one that takes its time.
//!
//! Each tool restores what it stored itself; the result is compared, names and bytes, each time.

use super::backup::numbers;
use super::tool::{Asked, Keeper, Tool};
use super::tree::{Size, plant, same};
use crate::bench::{Bench, server};
use crate::sample::mib;
use crate::section::{Measured, Section, cells, number};
use crate::table::Table;
use anyhow::Result;
use serde_json::json;
use std::fs;
use std::time::Duration;

const HEAD: [&str; 9] = [
    "latency per request",
    "",
    "seconds",
    "of rclone's speed",
    "GET",
    "all requests",
    "received",
    "CPU",
    "peak RSS",
];

pub(crate) fn measure(bench: &Bench) -> Section {
    let (mut tables, mut json) = (Vec::new(), json!({}));
    // rclone needs a request per file: the slow store is for the small tree.
    for (size, latencies) in [(Size::small(bench), [0, 5, 50].as_slice()), (Size::middle(bench), &[0, 5])] {
        let mut table = Table::new(format!("Restore of {}", size.name()), &HEAD);
        let all: Vec<(Tool, Measured<Vec<Asked>>)> = Tool::ALL
            .into_iter()
            .map(|tool| (tool, tool.if_there(|| runs(bench, tool, size, latencies))))
            .collect();
        for (i, latency) in latencies.iter().enumerate() {
            let theirs = all.iter().find(|(tool, _)| *tool == Tool::Rclone);
            let theirs = theirs.and_then(|(_, runs)| Some(runs.as_ref().ok()?[i].ran.seconds));
            for (tool, runs) in &all {
                let run: Measured<&Asked> = runs.as_ref().map(|runs| &runs[i]).map_err(Clone::clone);
                let mut row = vec![format!("{latency} ms"), tool.restore_name().to_owned()];
                row.extend(cells(&run, |asked| {
                    let (c, ran) = (&asked.counts, &asked.ran);
                    let times =
                        theirs.map_or("–".to_owned(), |theirs| format!("{:.1} ×", theirs / ran.seconds));
                    let [get, total] = [c.get, c.total()].map(|n| n.to_string());
                    let [received, rss] = [c.bytes_out, ran.usage.peak].map(|n| mib(n as f64));
                    [
                        format!("{:.2}", ran.seconds),
                        times,
                        get,
                        total,
                        received,
                        format!("{:.2} s", ran.usage.cpu),
                        rss,
                    ]
                }));
                table.row(row);
                json[size.name()][format!("{latency} ms")][tool.restore_name()] =
                    number(&run, |asked| numbers(asked));
            }
        }
        tables.push(table);
    }
    Section { tables, json }
}

fn runs(bench: &Bench, tool: Tool, size: Size, latencies: &[u64]) -> Result<Vec<Asked>> {
    let place = bench.place()?;
    let tree = place.path().join("tree");
    plant(&tree, size)?;
    let cache = place.path().join("cache");
    fs::create_dir(&cache)?;
    let server = server(place.path(), "store")?;
    let keeper = Keeper { tool, server: &server, tree: tree.clone(), cache: cache.clone() };
    keeper.prepare()?;
    keeper.backup()?;
    let mut runs = Vec::new();
    for latency in latencies {
        // What is restored after a loss is restored without a cache.
        fs::remove_dir_all(&cache)?;
        fs::create_dir(&cache)?;
        let back = place.path().join("back");
        server.faults().latency(Duration::from_millis(*latency));
        let restored = keeper.restore(&back);
        server.faults().latency(Duration::ZERO);
        let (asked, at) = restored?;
        same(&tree, &at)?;
        fs::remove_dir_all(&back)?;
        runs.push(asked);
    }
    Ok(runs)
}
