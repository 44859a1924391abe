//! `restore init`: everything a pod declares, before its application starts.
//!
//! The description decides what, the room decides how; here is the order around it: an earlier start's `restored.json` is withdrawn first, a
//! store that cannot be asked is asked again with growing pauses, and `restored.json` is written only when every part is in
//! place. One part that fails keeps the pod from starting, and every part that fails says why.

mod parts;

use crate::cli::Init;
use crate::values::bytes;
use clock::{Clock, IdGen, SystemClock, SystemIds};
use door::{Failure, exit_of_sqlite};
use futures::{StreamExt, stream};
use protect::handover::{Outcome, RestoredDatabase};
use protect::{Description, Handover, Sources};
use sqlite_replica::Progress;
use sqlite_replica::init::{self, Done, Task};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use telemetry::Exit;

/// First and longest pause between two attempts to ask a store.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

pub(crate) async fn run(args: Init) -> Result<Exit, Failure> {
    let description = describe(&args).map_err(Failure::usage)?;
    let tasks = parts::tasks(&description).await?;
    if args.dry_run {
        return dry_run(&args, &tasks).await;
    }
    let handover = Handover::path_in(&args.run_dir);
    std::fs::create_dir_all(&args.run_dir).map_err(|e| {
        Failure::new(Exit::Failed, format!("{}: cannot create it: {e}", args.run_dir.display()))
    })?;
    Handover::withdraw(&handover).map_err(|e| Failure::new(Exit::Failed, e))?;

    let limit = description.restore.timeout;
    let all = all(&args, &tasks);
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
    for (part, result) in tasks.iter().zip(done) {
        match result {
            Ok(database) => document.databases.push(database),
            Err(failure) => {
                eprintln!("restore: {}: {}", part.path, failure.line);
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
        d.databases.iter().map(|d| format!("{} {} ({})\n", said(d.outcome), d.path, bytes(d.bytes))).collect()
    });
    Ok(Exit::Done)
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

/// All parts, a few at a time; in the order of `tasks`.
async fn all(args: &Init, tasks: &[parts::Part]) -> Vec<Result<RestoredDatabase, Failure>> {
    let started = SystemClock.monotonic_ns();
    let patience = args.patience;
    let work = tasks.iter().map(|part| async move {
        let begun = SystemClock.monotonic_ns();
        let done = patiently(&part.task, started, patience).await;
        let seconds = (SystemClock.monotonic_ns() - begun) as f64 / 1e9;
        done.map(|done| row(part, done, seconds))
            .map_err(|error| Failure::new(exit_of_sqlite(error.class()), error))
    });
    stream::iter(work).buffered(usize::from(args.parallelism)).collect().await
}

/// Asks again while the store cannot be asked, until patience ends (P6: then it is a failure, never an empty start).
async fn patiently(task: &Task, started: u64, patience: Duration) -> sqlite_replica::Result<Done> {
    let ids = SystemIds::default();
    let progress = Arc::new(Progress::default());
    let shown = crate::progress::show(progress.clone(), 0);
    let mut pause = PAUSES.0;
    let done = loop {
        let error = match init::init(task, &SystemClock, &ids, &progress).await {
            Err(error) if init::is_worth_retrying(&error) => error,
            done => break done,
        };
        let waited = Duration::from_nanos(SystemClock.monotonic_ns() - started);
        if waited + pause > patience {
            break Err(error);
        }
        tracing::warn!(database = %task.database.display(), %error, retry_in_s = pause.as_secs(), "the store cannot be asked");
        let jitter = Duration::from_millis(ids.next_u64() % 500);
        tokio::time::sleep(pause + jitter).await;
        pause = (pause * 2).min(PAUSES.1);
    };
    shown.finish();
    done
}

fn row(part: &parts::Part, done: Done, seconds: f64) -> RestoredDatabase {
    if let Some(restored) = &done.restored {
        tracing::info!(
            database = part.path,
            txid = restored.txid,
            timestamp = restored.timestamp,
            "restored"
        );
    }
    if let Some(aside) = &done.aside {
        tracing::warn!(database = part.path, aside = %aside.display(), "what was there is set aside");
    }
    RestoredDatabase {
        path: part.path.clone(),
        outcome: done.outcome,
        lineage: done.claim.map_or(done.lineage, |c| c.lineage),
        epoch: done.claim.map_or(0, |c| c.epoch),
        txid: done.claim.map_or(0, |c| c.txid),
        claimed: done.claim.is_some(),
        bytes: done.bytes,
        seconds,
    }
}

#[derive(serde::Serialize)]
struct Intention {
    path: String,
    database: PathBuf,
    replica: String,
    would: String,
}

/// What would be done; the store is asked, nothing is claimed, and of the volume only the state directory may appear.
async fn dry_run(args: &Init, tasks: &[parts::Part]) -> Result<Exit, Failure> {
    let mut intentions = Vec::new();
    for part in tasks {
        let (observed, action) = init::would(&part.task).await.map_err(|error| {
            Failure::new(exit_of_sqlite(error.class()), format!("{}: {error}", part.path))
        })?;
        intentions.push(Intention {
            path: part.path.clone(),
            database: part.task.database.clone(),
            replica: part.task.url.clone(),
            would: format!(
                "{action:?} (local {:?}, replica {:?}, {:?})",
                observed.local, observed.replica, observed.tie
            ),
        });
    }
    door::print(args.output, &intentions, |all| {
        all.iter().map(|i| format!("{}: {} from {}\n", i.path, i.would, i.replica)).collect()
    });
    Ok(Exit::Done)
}
