//! `restore sqlite`: one database, at the newest state or an older one.

use crate::cli::Sqlite;
use crate::values::bytes;
use crate::{confirm, follow, progress};
use door::Output;
use seal::Identities;
use serde::Serialize;
use sqlite_replica::{
    Catalogue, Descent, Error, Follower, Goal, Progress, Recovered, Recovery, RestoreOptions, Way,
    refuse_foreign, refuse_open, v03,
};
use std::sync::Arc;
use store::{OpenConfig, Store};
use telemetry::Exit;

/// What a restore would do; the field names are an interface.
#[derive(Serialize)]
struct Plan {
    txid: String,
    wanted: String,
    bytes: u64,
    requests: u64,
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    key: String,
    level: u8,
    size: u64,
}

pub(crate) async fn run(args: Sqlite, identities: Option<Arc<Identities>>) -> Result<Exit, Error> {
    let mut options = options(&args, identities.clone());
    let exists = there(&args)?;
    if args.follow && exists && !args.force {
        let store = store::open(&args.url, OpenConfig::default()).await?;
        if let Some(follower) = follow::resumed(&args, &store, &options)? {
            return follow::follow(&args, follower).await;
        }
    }
    if exists && args.if_not_exists {
        eprintln!("restore: {} exists, nothing to do", args.output.display());
        return Ok(Exit::Done);
    }
    if exists && !args.force && !args.dry_run && !confirm::is_interactive() {
        return Err(refused(&args, "exists", "replace it with --force, or skip it with --if-not-exists"));
    }
    if exists && !args.dry_run {
        refuse_open(&args.output)?;
    }
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let (store, catalogue) = Catalogue::open(&store).await?;
    if args.if_replica_exists && catalogue.entries.is_empty() && !catalogue.has_generations {
        eprintln!("restore: {} holds nothing, nothing to do", args.url);
        return Ok(Exit::Done);
    }
    if catalogue.entries.is_empty() {
        refuse_foreign(&store).await?;
    }
    if v03::is_newer(&store, &catalogue).await? && args.txid.is_none() {
        if args.follow {
            return Err(refused(
                &args,
                "cannot follow litestream 0.3 generations",
                "restore them without --follow",
            ));
        }
        return generations(&args, &store, exists, identities).await;
    }
    let goal = match (args.timestamp, args.txid) {
        (Some(at), _) => Goal::Time(at),
        (None, Some(txid)) => Goal::Txid(txid),
        (None, None) => Goal::Newest,
    };
    let noted = (!args.dry_run && !args.follow).then(|| catalogue.clone());
    let mut recovery = Recovery::new(&store, catalogue, args.latest_valid);
    // One asks nothing that the other needs, and a store may be far away.
    let (descent, way) = tokio::join!(descent(&store, noted), recovery.way(goal));
    options.descent = descent;
    let way = way?;
    if args.dry_run {
        show(&args, &way);
        return Ok(Exit::Done);
    }
    if exists && !args.force {
        let what = format!(
            "{} exists and will be replaced by TXID {} of {} ({})",
            args.output.display(),
            way.plan.newest().name.max,
            args.url,
            bytes(way.plan.bytes())
        );
        if !confirm::ask(&what) {
            return Err(refused(&args, "was kept", "nothing was changed"));
        }
    }
    let progress = Arc::new(Progress::default());
    let shown = progress::show(
        {
            let progress = progress.clone();
            move || progress.fetched()
        },
        way.plan.bytes(),
    );
    let restored = recovery.restore(goal, &args.output, &options, &progress).await;
    shown.finish();
    let restored = restored?;
    tell(&args, &restored);
    if args.follow {
        let at = restored.restored.txid.parse().expect("a restore gives back a TXID");
        return follow::follow(&args, Follower::new(&store, &args.output, at, options.clone())?).await;
    }
    Ok(Exit::Done)
}

/// What the file will descend from, to be noted beside it.
async fn descent(store: &Store, catalogue: Option<Catalogue>) -> Option<Descent> {
    Descent::of(store, catalogue?).await.unwrap_or_else(|error| {
        tracing::info!(%error, "what the file descends from cannot be noted");
        None
    })
}

/// Litestream 0.3 generations.
async fn generations(
    args: &Sqlite,
    store: &Store,
    exists: bool,
    identities: Option<Arc<Identities>>,
) -> Result<Exit, Error> {
    let plan = v03::plan(store, args.timestamp).await?;
    if args.dry_run {
        door::print(args.format, &plan, ToString::to_string);
        return Ok(Exit::Done);
    }
    if exists && !args.force {
        let what = format!("{} exists and will be replaced by {plan}", args.output.display());
        if !confirm::ask(&what) {
            return Err(refused(args, "was kept", "nothing was changed"));
        }
    }
    let progress = Arc::new(Progress::default());
    let shown = progress::show(
        {
            let progress = progress.clone();
            move || progress.fetched()
        },
        plan.bytes(),
    );
    let restored =
        v03::restore(store, &plan, &args.output, args.integrity.into(), identities, &progress).await;
    shown.finish();
    let restored = restored?;
    door::print(args.format, &restored, |r| {
        format!(
            "restored {} from generation {} up to WAL {:08x}: {} from {} objects",
            args.output.display(),
            r.generation,
            r.index,
            bytes(r.bytes),
            r.objects
        )
    });
    Ok(Exit::Done)
}

fn there(args: &Sqlite) -> Result<bool, Error> {
    let Ok(there) = std::fs::symlink_metadata(&args.output) else { return Ok(false) };
    if there.is_dir() && !args.if_not_exists {
        return Err(refused(args, "is a directory", "name a file"));
    }
    Ok(true)
}

fn options(args: &Sqlite, identities: Option<Arc<Identities>>) -> RestoreOptions {
    RestoreOptions {
        integrity: args.integrity.into(),
        parallelism: usize::from(args.parallelism),
        identities,
        ..RestoreOptions::default()
    }
}

fn show(args: &Sqlite, way: &Way) {
    let objects =
        way.plan.files.iter().map(|f| Object { key: f.key.clone(), level: f.level.0, size: f.size });
    let plan = Plan {
        txid: way.plan.newest().name.max.to_string(),
        wanted: way.wanted.to_string(),
        bytes: way.plan.bytes(),
        requests: way.plan.requests(),
        objects: objects.collect(),
    };
    door::print(args.format, &plan, |plan| {
        format!(
            "{}\nrestores TXID {} with about {} requests; nothing was done",
            way.plan, plan.txid, plan.requests
        )
    });
}

fn tell(args: &Sqlite, recovered: &Recovered) {
    for finding in &recovered.damage {
        eprintln!("restore: damaged: {}: {}", finding.key, finding.what);
    }
    let restored = &recovered.restored;
    if recovered.wanted != restored.txid {
        eprintln!("restore: TXID {} is not provable; restored {} before it", recovered.wanted, restored.txid);
    }
    if args.format == Output::Json {
        println!("{}", serde_json::to_string(recovered).expect("plain fields serialise"));
        return;
    }
    println!(
        "restored {} at TXID {} of {}: {} bytes from {} files ({} bytes fetched){}",
        args.output.display(),
        restored.txid,
        restored.timestamp,
        restored.bytes,
        restored.files,
        restored.fetched,
        if restored.proven { ", proven by its rolling checksum" } else { "" }
    );
}

fn refused(args: &Sqlite, what: &str, hint: &str) -> Error {
    Error::Refused { what: format!("{} {what}", args.output.display()), hint: hint.into() }
}
