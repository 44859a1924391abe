//! `restore files`: a tree, or parts of it, at the newest state or an older one; and the verbs that work on every kind of replica.

pub(crate) mod drill;
pub(crate) mod list;
pub(crate) mod unlock;
pub(crate) mod verify;

use crate::{confirm, kind, progress};
use clap::Args;
use clock::SystemClock;
use door::{Output, moment};
use file_replica::Error;
use file_replica::restore::{Options, Progress, RestorePlan, Want, restore};
use seal::Identities;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{OpenConfig, StoreUrl};
use telemetry::Exit;

#[derive(Args)]
pub(crate) struct Files {
    /// The replica
    pub(crate) url: StoreUrl,
    /// The directory to write
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The newest snapshot committed at or before this time
    #[arg(long, value_name = "RFC3339", conflicts_with = "snapshot", value_parser = moment)]
    pub(crate) timestamp: Option<clock::UnixMs>,
    /// Exactly this snapshot, as `restore list` shows it
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
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) format: Output,
}

pub(crate) async fn run(args: Files) -> Result<Exit, Error> {
    if args.if_not_exists && has_files(&args.output) {
        eprintln!("restore: {} is not empty, nothing to do", args.output.display());
        return Ok(Exit::Done);
    }
    let identities = identities(args.identity.as_deref())?;
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let want = match (args.snapshot, args.timestamp) {
        _ if args.latest_valid => Want::LatestValid,
        (Some(number), _) => Want::Number(number),
        (None, Some(at)) => Want::At(at),
        (None, None) => Want::Newest,
    };
    let plan = match RestorePlan::new(&store, want, &args.path, identities.as_deref()).await {
        Err(Error::Nothing { what, hint }) => match kind::instead_of_files(&store).await? {
            Some((what, hint)) => {
                return Err(Error::Refused { what: format!("the prefix holds {what}"), hint });
            }
            None if args.if_replica_exists && args.path.is_empty() => {
                eprintln!("restore: {what}, nothing to do");
                return Ok(Exit::Done);
            }
            None => return Err(Error::Nothing { what, hint }),
        },
        other => other?,
    };
    if args.dry_run {
        door::print(args.format, &Planned::of(&plan), |_| plan.to_string());
        return Ok(Exit::Done);
    }
    let mut force = args.force;
    if !force && !args.if_not_exists && has_files(&args.output) && confirm::is_interactive() {
        let what = format!(
            "{} is not empty; {plan}\nwhat is replaced is moved aside, not deleted",
            args.output.display()
        );
        if !confirm::ask(&what) {
            return Err(Error::Refused {
                what: format!("{} was kept", args.output.display()),
                hint: "nothing was changed".into(),
            });
        }
        force = true;
    }
    let options = Options { parallelism: usize::from(args.parallelism), force, ..Options::default() };
    let progress = Arc::new(Progress::default());
    let counted = progress.clone();
    let shown = progress::show(move || counted.fetched(), plan.stored_bytes());
    let restored = restore(&store, &plan, &args.output, identities, &options, &SystemClock, progress).await;
    shown.finish();
    let r = restored?;
    door::print(args.format, &r, |r| {
        let mut text = format!(
            "restored {} at snapshot {} of {}: {} entries, {} bytes",
            args.output.display(),
            r.snapshot,
            r.time,
            r.entries,
            r.bytes
        );
        if let Some(aside) = &r.aside {
            text += &format!("; {} things that were there are now in {aside}", r.moved_aside);
        }
        if r.foreign_owner > 0 {
            text += &format!("\n{} owners could not be set by this user", r.foreign_owner);
        }
        text
    });
    Ok(Exit::Done)
}

/// What a restore would do; the field names are an interface.
#[derive(Serialize)]
struct Planned {
    snapshot: u64,
    time: String,
    entries: u64,
    bytes: u64,
    stored_bytes: u64,
    requests: u64,
}

impl Planned {
    fn of(plan: &RestorePlan) -> Planned {
        Planned {
            snapshot: plan.head.number,
            time: plan.head.time.clone(),
            entries: plan.entries().count() as u64,
            bytes: plan.bytes(),
            stored_bytes: plan.stored_bytes(),
            requests: plan.requests(),
        }
    }
}

/// The secret keys of `--identity`.
fn identities(path: Option<&Path>) -> Result<Option<Arc<Identities>>, Error> {
    let read = path.map(Identities::from_file).transpose().map_err(|e| Error::Usage(e.to_string()))?;
    Ok(read.map(Arc::new))
}

/// Our own directory does not count: an earlier refusal may have left it.
fn has_files(dir: &Path) -> bool {
    let ours = |entry: &std::fs::DirEntry| entry.file_name() == ".highwater";
    std::fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|entry| !ours(&entry)))
}
