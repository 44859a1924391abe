//! `restore init`: everything a pod declares, before its application starts.
//!
//! The description decides what, the room decides how; here is the order around it: an earlier start's `restored.json` is withdrawn first, a
//! store that cannot be asked is asked again with growing pauses, and `restored.json` is written only when every part is in
//! place. One part that fails keeps the pod from starting, and every part that fails says why.

mod found;
mod parts;
mod row;
mod stores;

use crate::cli::Init;
use crate::progress;
use crate::values::bytes;
use clock::{Clock, IdGen, SystemClock, SystemIds};
use door::{Failure, exit_of};
use futures::{StreamExt, stream};
use parts::{Part, Work};
use protect::handover::Outcome;
use protect::{Description, Handover, Sources, unwritable};
use row::Row;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Progress, RoomClass};
use telemetry::Exit;

/// First and longest pause between two attempts to ask a store.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

pub(crate) async fn run(args: Init) -> Result<Exit, Failure> {
    let description = describe(&args).map_err(Failure::usage)?;
    if args.dry_run {
        return dry_run(&args, &parts::parts(&args, &description).await?).await;
    }
    let handover = Handover::path_in(&args.run_dir);
    std::fs::create_dir_all(&args.run_dir).map_err(|e| {
        let (denied, hint) = (unwritable::is_denied(&e), unwritable::hint(&args.run_dir, &e));
        Failure::new(
            exit_of_volume(denied, RoomClass::Retriable),
            format!("{}: cannot create it: {e}{hint}", args.run_dir.display()),
        )
    })?;
    Handover::withdraw(&handover).map_err(|e| Failure::new(Exit::Failed, e))?;

    let limit = description.restore.timeout;
    let all = all(&args, &description);
    let done = match limit.is_zero() {
        true => all.await,
        false => tokio::time::timeout(limit, all).await.map_err(|_| {
            let limit = limit.as_secs();
            Failure::new(
                Exit::Failed,
                format!("not done within restore-timeout ({limit} s); the next start begins again"),
            )
        })?,
    };
    let mut document = Handover::new(&description, clock::format_unix_ms(SystemClock.unix_ms()));
    let mut worst: Option<Failure> = None;
    let done = done.map_err(|failure| match failure.exit {
        Exit::Usage => failure,
        exit => Failure::new(exit, format!("the pod does not start: {}", failure.line)),
    });
    for (path, result) in done? {
        match result {
            Ok(Row::Database(database)) => document.databases.push(database),
            Ok(Row::Tree(tree)) => document.files.push(tree),
            Err(failure) => {
                eprintln!("restore: {path}: {}", failure.line);
                if worst.as_ref().is_none_or(|w| failure.exit > w.exit) {
                    worst = Some(failure);
                }
            }
        }
    }
    if let Some(worst) = worst {
        return Err(Failure::new(worst.exit, format!("the pod does not start: {}", worst.line)));
    }
    document.write(&handover).map_err(|e| Failure::new(Exit::Failed, e))?;
    door::print(args.output, &document, |d| {
        let databases = d.databases.iter().map(|d| (d.outcome, &d.path, d.bytes));
        let trees = d.files.iter().map(|t| (t.outcome, &t.path, t.bytes));
        databases
            .chain(trees)
            .map(|(how, path, n)| format!("{} {path} ({})\n", said(how), bytes(n)))
            .collect()
    });
    Ok(Exit::Done)
}

/// A right that is missing on the volume has to be given first, as a sidecar says it of the database itself.
fn exit_of_volume(denied: bool, class: RoomClass) -> Exit {
    if denied { Exit::Refused } else { exit_of(class) }
}

fn said(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Kept => "kept    ",
        Outcome::Restored => "restored",
        Outcome::Fresh => "fresh   ",
        Outcome::Forced => "restored an older point of",
    }
}

fn describe(args: &Init) -> Result<Description, protect::Error> {
    let mut sources = Sources::of_process();
    sources.config.clone_from(&args.config);
    sources.annotations.clone_from(&args.annotations);
    sources.domain.clone_from(&args.annotation_domain);
    sources.resolve()
}

type Results = Vec<(String, Result<Row, Failure>)>;

/// All parts, a few at a time, in the order of the description.
async fn all(args: &Init, description: &Description) -> Result<Results, Failure> {
    let parts = parts::parts(args, description).await?;
    let work = parts.iter().map(|part| async move { (part.path.clone(), bring(args, part).await) });
    Ok(stream::iter(work).buffered(usize::from(args.parallelism)).collect().await)
}

/// One part, asked again while its store cannot be asked.
async fn bring(args: &Init, part: &Part) -> Result<Row, Failure> {
    let begun = SystemClock.monotonic_ns();
    let ids = SystemIds::default();
    let seconds = || (SystemClock.monotonic_ns() - begun) as f64 / 1e9;
    match &part.work {
        Work::Database(task) => {
            let progress = Arc::new(Progress::default());
            let counted = progress.clone();
            let shown = progress::show(move || counted.fetched(), 0);
            let worth = sqlite_replica::init::is_worth_retrying;
            let done = patiently(args.patience, &part.path, worth, || {
                sqlite_replica::init::init(task, &SystemClock, &ids, &progress)
            });
            let done = done.await;
            shown.finish();
            let done = done.map_err(|e| Failure::new(exit_of_volume(e.is_denied(), e.class()), e))?;
            Ok(row::of_database(&part.path, done, seconds()))
        }
        Work::Tree(task) => {
            let progress = Arc::new(Progress::default());
            let counted = progress.clone();
            let shown = progress::show(move || counted.fetched(), 0);
            let worth = file_replica::restore::is_worth_retrying;
            let done = patiently(args.patience, &part.path, worth, || {
                file_replica::restore::init(task, &SystemClock, &ids, &progress)
            });
            let done = done.await;
            shown.finish();
            let done = done.map_err(|e| Failure::new(exit_of_volume(e.is_denied(), e.class()), e))?;
            row::of_tree(&part.path, done, seconds())
        }
    }
}

/// Asks again while the store cannot be asked, until patience ends (P6: then it is a failure, never an empty start).
async fn patiently<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    patience: Duration,
    what: &str,
    is_worth_retrying: impl Fn(&E) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, E> {
    let started = SystemClock.monotonic_ns();
    let ids = SystemIds::default();
    let mut pause = PAUSES.0;
    loop {
        let error = match ask().await {
            Err(error) if is_worth_retrying(&error) => error,
            done => return done,
        };
        let waited = Duration::from_nanos(SystemClock.monotonic_ns() - started);
        if waited + pause > patience {
            return Err(error);
        }
        tracing::warn!(what, %error, retry_in_s = pause.as_secs(), "the store cannot be asked");
        let jitter = Duration::from_millis(ids.next_u64() % 500);
        tokio::time::sleep(pause + jitter).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

#[derive(serde::Serialize)]
struct Intention {
    path: String,
    /// The database or the directory.
    place: PathBuf,
    would: String,
}

/// What would be done; the store is asked, nothing is claimed, and of the volume only the state directory may appear.
async fn dry_run(args: &Init, parts: &[Part]) -> Result<Exit, Failure> {
    let mut intentions = Vec::new();
    for part in parts {
        let path = &part.path;
        let would = match &part.work {
            Work::Database(task) => {
                let (o, action) = sqlite_replica::init::would(task)
                    .await
                    .map_err(|error| Failure::new(exit_of(error.class()), format!("{path}: {error}")))?;
                format!(
                    "{action:?} from {} (local {:?}, replica {:?}, {:?})",
                    task.url, o.local, o.replica, o.tie
                )
            }
            Work::Tree(task) => {
                let (o, decision) = file_replica::restore::would(task)
                    .await
                    .map_err(|error| Failure::new(exit_of(error.class()), format!("{path}: {error}")))?;
                format!("{decision:?} (local {:?}, replica {:?}, {:?})", o.local, o.replica, o.tie)
            }
        };
        intentions.push(Intention { path: path.clone(), place: part.work.place().to_owned(), would });
    }
    door::print(args.output, &intentions, |all| {
        all.iter().map(|i| format!("{}: {}\n", i.path, i.would)).collect()
    });
    Ok(Exit::Done)
}
