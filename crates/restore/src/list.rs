//! `restore list`: every point a replica can give back.

use crate::cli::List;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use sqlite_replica::{
    Catalogue, Error, Lineage, Proven, RestorePlan, points, read_header, refuse_foreign, v03,
};
use store::OpenConfig;
use telemetry::Exit;

/// Headers asked for at once.
const HEADERS: usize = 16;

/// One line of the list; the field names are an interface.
#[derive(Serialize)]
struct Row {
    txid: String,
    /// When it was committed, RFC 3339; with `--exact`.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// When the file arrived in the store, RFC 3339.
    stored: String,
    level: u8,
    /// Bytes of the file that ends at this point.
    size: u64,
    sealed: bool,
    /// Everything up to here has been read back and found whole.
    proven: bool,
}

pub(crate) async fn run(args: List) -> Result<Exit, Error> {
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let (store, catalogue) = Catalogue::open(&store).await?;
    let points = points(&catalogue);
    if points.is_empty() {
        if catalogue.has_generations {
            let all = v03::list(&store).await?;
            door::print(args.output, &all, |all| all.iter().map(|g| format!("{g}\n")).collect());
            return Ok(Exit::Done);
        }
        refuse_foreign(&store).await?;
        // The plan knows why: nothing there, or no full image.
        RestorePlan::new(&catalogue, None)?;
    }
    let lineage = if catalogue.has_lineage { Lineage::load(&store).await? } else { None };
    let sealed = lineage.is_some_and(|lineage| lineage.sealed);
    let proven = if catalogue.has_proof { Proven::load(&store).await? } else { None };
    let through = proven.and_then(|p| p.txid());
    let newest = points.last().map(|point| point.txid);
    let lost = through.filter(|through| newest.is_some_and(|newest| newest < *through));
    let rows = points.into_iter().map(|point| {
        let store = &store;
        async move {
            let time = match args.exact {
                false => None,
                true => Some(clock::format_unix_ms(read_header(store, &point.file).await?.timestamp_ms)),
            };
            Ok::<_, Error>(Row {
                txid: point.txid.to_string(),
                time,
                stored: clock::format_unix_ms(point.file.modified_ms),
                level: point.file.level.0,
                size: point.file.size,
                sealed,
                proven: through.is_some_and(|through| point.txid <= through),
            })
        }
    });
    let rows: Vec<Row> = futures::stream::iter(rows).buffered(HEADERS).try_collect().await?;
    door::print(args.output, &rows, |rows| {
        let when = if args.exact { "COMMITTED" } else { "STORED" };
        let mut text =
            format!("{:<16}  {when:<24}  {:>5}  {:>12}  {:<6}\n", "TXID", "LEVEL", "BYTES", "PROVEN");
        for row in rows {
            let time = row.time.as_ref().unwrap_or(&row.stored);
            let proven = if row.proven { "yes" } else { "" };
            text +=
                &format!("{:<16}  {time:<24}  {:>5}  {:>12}  {proven:<6}\n", row.txid, row.level, row.size);
        }
        if let Some(through) = lost {
            text += &format!("the replica was proven up to TXID {through}: newer objects are gone\n");
        }
        text
    });
    Ok(Exit::Done)
}
