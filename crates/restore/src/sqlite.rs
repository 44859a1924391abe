//! `restore sqlite`: one database, at the newest state or an older one.

use crate::cli::{Output, Sqlite};
use crate::progress;
use sqlite_replica::{Catalogue, Error, Progress, RestoreOptions, RestorePlan, point_at, restore};
use std::sync::Arc;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: Sqlite) -> Result<Exit, Error> {
    if let Ok(there) = std::fs::symlink_metadata(&args.output) {
        if args.if_not_exists {
            eprintln!("restore: {} exists, nothing to do", args.output.display());
            return Ok(Exit::Done);
        }
        if there.is_dir() {
            return Err(refused(&args, "is a directory", "name a file"));
        }
        if !args.force {
            return Err(refused(&args, "exists", "replace it with --force, or skip it with --if-not-exists"));
        }
    }
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let catalogue = Catalogue::load(&store).await?;
    if args.if_replica_exists && catalogue.entries.is_empty() {
        eprintln!("restore: {} holds nothing, nothing to do", args.url);
        return Ok(Exit::Done);
    }
    let txid = match args.timestamp {
        Some(at) => Some(point_at(&store, &catalogue, at).await?.txid),
        None => args.txid,
    };
    let plan = RestorePlan::new(&catalogue, txid)?;
    if args.dry_run {
        println!("{plan}");
        return Ok(Exit::Done);
    }
    let options =
        RestoreOptions { integrity: args.integrity.into(), parallelism: usize::from(args.parallelism) };
    let progress = Arc::new(Progress::default());
    let shown = progress::show(progress.clone(), plan.bytes());
    let restored = restore(&store, &plan, &args.output, &options, progress).await;
    shown.finish();
    let restored = restored?;
    match args.format {
        Output::Json => println!("{}", serde_json::to_string(&restored).expect("plain fields serialise")),
        Output::Text => println!(
            "restored {} at TXID {} of {}: {} bytes from {} files ({} bytes fetched){}",
            args.output.display(),
            restored.txid,
            restored.timestamp,
            restored.bytes,
            restored.files,
            restored.fetched,
            if restored.proven { ", proven by its rolling checksum" } else { "" }
        ),
    }
    Ok(Exit::Done)
}

fn refused(args: &Sqlite, what: &str, hint: &str) -> Error {
    Error::Refused { what: format!("{} {what}", args.output.display()), hint: hint.into() }
}
