//! `restore files`: a tree, or parts of it, at the newest state or an older one.

use clap::Args;
use clock::SystemClock;
use file_replica::restore::{Options, Progress, RestorePlan, Want, restore};
use file_replica::{Class, Error};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{OpenConfig, StoreUrl};
use telemetry::Exit;

const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Files {
    /// The replica
    #[arg(value_parser = |text: &str| StoreUrl::parse(text).map_err(|e| e.to_string()))]
    pub(crate) url: StoreUrl,
    /// The directory to write
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The newest snapshot committed at or before this time
    #[arg(long, value_name = "RFC3339", conflicts_with = "snapshot", value_parser = |text: &str| clock::parse_unix_ms(text).ok_or("not an RFC 3339 time, for example 2026-11-20T14:05:00Z"))]
    pub(crate) timestamp: Option<clock::UnixMs>,
    /// Exactly this snapshot, as `config-syncer list` shows it
    #[arg(long, value_name = "N")]
    pub(crate) snapshot: Option<u64>,
    /// The newest snapshot of which everything proves itself, should the newest be damaged
    #[arg(long, conflicts_with_all = ["snapshot", "timestamp"])]
    pub(crate) latest_valid: bool,
    /// Only this path, or what matches this gitignore pattern; repeat for more
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<String>,
    /// Do nothing if the output exists and is not empty
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Do nothing if the replica provably holds nothing
    #[arg(long)]
    pub(crate) if_replica_exists: bool,
    /// Restore over files that are there; what is replaced is moved aside
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Objects in flight
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) parallelism: u8,
    /// Secret key file, for a sealed replica
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
}

pub(crate) async fn run(args: Files) -> Result<Exit, Error> {
    if args.if_not_exists && has_files(&args.output) {
        eprintln!("restore: {} is not empty, nothing to do", args.output.display());
        return Ok(Exit::Done);
    }
    let identities = match &args.identity {
        Some(path) => {
            Some(Arc::new(seal::Identities::from_file(path).map_err(|e| Error::Usage(e.to_string()))?))
        }
        None => None,
    };
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let want = match (args.snapshot, args.timestamp) {
        _ if args.latest_valid => Want::LatestValid,
        (Some(number), _) => Want::Number(number),
        (None, Some(at)) => Want::At(at),
        (None, None) => Want::Newest,
    };
    let plan = match RestorePlan::new(&store, want, &args.path, identities.as_deref()).await {
        Err(Error::Nothing { what, .. }) if args.if_replica_exists && args.path.is_empty() => {
            eprintln!("restore: {what}, nothing to do");
            return Ok(Exit::Done);
        }
        other => other?,
    };
    if args.dry_run {
        println!("{plan}");
        return Ok(Exit::Done);
    }
    let options =
        Options { parallelism: usize::from(args.parallelism), force: args.force, ..Options::default() };
    let progress = Arc::new(Progress::default());
    let telling = tokio::spawn({
        let (progress, total) = (progress.clone(), plan.stored_bytes());
        async move {
            loop {
                tokio::time::sleep(LINE_EVERY).await;
                tracing::info!(fetched = progress.fetched(), total, "restoring");
            }
        }
    });
    let restored = restore(&store, &plan, &args.output, identities, &options, &SystemClock, progress).await;
    telling.abort();
    let r = restored?;
    println!(
        "restored {} at snapshot {} of {}: {} entries, {} bytes{}",
        args.output.display(),
        r.snapshot,
        r.time,
        r.entries,
        r.bytes,
        r.aside
            .as_ref()
            .map_or(String::new(), |a| format!("; {} things that were there are now in {a}", r.moved_aside))
    );
    if r.foreign_owner > 0 {
        println!("{} owners could not be set by this user", r.foreign_owner);
    }
    Ok(Exit::Done)
}

fn has_files(dir: &std::path::Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

pub(crate) fn exit_of(error: &Error) -> Exit {
    match error.class() {
        Class::Retriable => Exit::Failed,
        Class::Usage => Exit::Usage,
        Class::Refused => Exit::Refused,
        Class::Damaged => Exit::Damaged,
        Class::Fenced => Exit::Fenced,
    }
}
