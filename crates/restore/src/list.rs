//! `restore list`: every point a replica can give back.

use crate::cli::{List, Output};
use serde::Serialize;
use sqlite_replica::{Catalogue, Error, points};
use store::OpenConfig;
use telemetry::Exit;

/// One line of the list; the field names are an interface.
#[derive(Serialize)]
struct Row {
    txid: String,
    /// When the file arrived in the store, RFC 3339.
    stored: String,
    level: u8,
    /// Bytes of the file that ends at this point.
    size: u64,
    sealed: bool,
}

pub(crate) async fn run(args: List) -> Result<Exit, Error> {
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let catalogue = Catalogue::load(&store).await?;
    let points = points(&catalogue);
    if points.is_empty() {
        // The plan knows why: nothing there, or no full image.
        sqlite_replica::RestorePlan::new(&catalogue, None)?;
    }
    let rows: Vec<Row> = points
        .into_iter()
        .map(|p| Row {
            txid: p.txid.to_string(),
            stored: clock::format_unix_ms(p.file.modified_ms),
            level: p.file.level.0,
            size: p.file.size,
            sealed: false,
        })
        .collect();
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows).expect("plain fields serialise")),
        Output::Text => {
            println!("{:<16}  {:<24}  {:>5}  {:>12}", "TXID", "STORED", "LEVEL", "BYTES");
            for row in rows {
                println!("{:<16}  {:<24}  {:>5}  {:>12}", row.txid, row.stored, row.level, row.size);
            }
        }
    }
    Ok(Exit::Done)
}
