//! What one run costs: requests, bytes, seconds, processor time, memory.
//!
//! Each is a process of its own here, so ours claims the replica each time: a claim, and the question whether the store refuses a second
//! create. What a change costs the sidecar, which claims once, is in the next table.

use super::tool::{Asked, Kept, Tool};
use super::tree::{Event, Size};
use crate::bench::Bench;
use crate::sample::mib;
use crate::section::{Measured, Section, cells, number};
use crate::table::Table;
use anyhow::Result;
use serde_json::json;

const HEAD: [&str; 12] =
    ["", "", "PUT", "GET", "HEAD", "LIST", "DELETE", "all", "sent", "seconds", "CPU", "peak RSS"];

pub(crate) fn measure(bench: &Bench) -> Section {
    let (mut tables, mut json) = (Vec::new(), json!({}));
    for size in Size::all(bench) {
        let mut table = Table::new(format!("One run over {}", size.name()), &HEAD);
        for tool in Tool::ALL {
            let runs = tool.if_there(|| runs(bench, tool, size));
            for (i, event) in Event::ALL.into_iter().enumerate() {
                let run: Measured<&Asked> = runs.as_ref().map(|runs| &runs[i]).map_err(Clone::clone);
                let mut row = vec![event.name().to_owned(), tool.backup_name().to_owned()];
                row.extend(cells(&run, |asked| shown(asked)));
                table.row(row);
                json[size.name()][event.name()][tool.backup_name()] = number(&run, |asked| numbers(asked));
            }
        }
        tables.push(table);
    }
    if let Some(last) = tables.last_mut() {
        last.note("`restic init` is not counted. rclone keeps one state and no history; restic and config-syncer keep all.");
    }
    Section { tables, json }
}

fn runs(bench: &Bench, tool: Tool, size: Size) -> Result<Vec<Asked>> {
    let kept = Kept::new(bench, tool, size)?;
    let (tree, keeper) = (kept.tree(), kept.keeper("cache")?);
    let run = |event: Event| {
        event.happen(&tree, size)?;
        keeper.backup()
    };
    Event::ALL.into_iter().map(run).collect()
}

fn shown(asked: &Asked) -> [String; 10] {
    let (c, ran) = (&asked.counts, &asked.ran);
    let [put, get, head, list, delete, all] =
        [c.writes(), c.get, c.head, c.list, c.delete, c.total()].map(|n| n.to_string());
    let (sent, rss) = (mib(c.bytes_in as f64), mib(ran.usage.peak as f64));
    let [seconds, cpu] = [ran.seconds, ran.usage.cpu].map(|s| format!("{s:.2}"));
    [put, get, head, list, delete, all, sent, seconds, cpu, rss]
}

pub(super) fn numbers(asked: &Asked) -> serde_json::Value {
    let (c, ran) = (&asked.counts, &asked.ran);
    json!({
        "put": c.writes(), "get": c.get, "head": c.head, "list": c.list, "delete": c.delete, "total": c.total(),
        "bytes_in": c.bytes_in, "bytes_out": c.bytes_out, "seconds": ran.seconds, "cpu_seconds": ran.usage.cpu,
        "peak_rss_bytes": ran.usage.peak,
    })
}
