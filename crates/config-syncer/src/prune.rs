//! `config-syncer prune`: what retention deletes, as a plan first.

use crate::cli::Prune;
use crate::trees::places;
use anyhow::{Result, anyhow};
use clock::SystemClock;
use door::Output;
use file_replica::Proven;
use file_replica::retention::{all_heads, apply, plan};
use protect::Keep;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: Prune) -> Result<Exit> {
    let keep = args
        .keep
        .as_deref()
        .map(|text| Keep::parse(text).map_err(|why| anyhow!("--keep: {why}")))
        .transpose()?;
    for (place, described) in places(args.url.as_deref(), args.config.as_deref())? {
        let store = place.open(OpenConfig::default()).await?;
        let heads = all_heads(&store, |_| None).await?;
        let proven = Proven::load(&store).await?.and_then(|p| p.number());
        let plan = plan(&store, &heads, proven, &keep.unwrap_or(described), &SystemClock).await?;
        door::print(args.output, &plan, |plan| format!("{}: {plan}", place.text));
        if args.apply {
            let deleted = apply(&store, &plan).await?;
            if args.output == Output::Text {
                println!("{}: deleted {deleted} objects", place.text);
            }
        }
    }
    Ok(Exit::Done)
}
