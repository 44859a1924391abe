//! `wal-streamer prune`: what retention would delete, and with `--apply` deletes. It works from the URL alone.
//!
//! The plan and its guards are the room's (P3): nothing beyond the newest proven point, no claim that still fences, not more
//! than the budget of one run. A running writer prunes by itself; beside it this is harmless, deleting is idempotent.

use crate::cli::Prune;
use crate::pairs;
use clock::{Clock, IdGen, SystemClock, SystemIds};
use door::{Failure, exit_of, print};
use protect::Keep;
use serde::Serialize;
use sqlite_replica::{Policy, RetentionPlan, plan_prune, prune};
use std::sync::Arc;
use store::{OpenConfig, Store, StoreUrl};
use telemetry::Exit;

/// One replica and what is to go.
#[derive(Serialize)]
struct Row {
    replica: String,
    plan: RetentionPlan,
    /// Objects that are gone; absent without `--apply`.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<usize>,
    /// Objects the store would not delete, and why the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<(usize, String)>,
}

pub(crate) async fn run(args: Prune) -> Result<Exit, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdGen> = Arc::new(SystemIds::default());
    let mut rows = Vec::new();
    for (replica, policy) in wanted(&args)? {
        let store = open(&replica, &clock, &ids).await?;
        let failed = |error: sqlite_replica::Error| {
            Failure::new(exit_of(error.class()), format!("{replica}: {error}"))
        };
        let plan = plan_prune(&store, &policy, &*clock).await.map_err(failed)?;
        let mut row = Row { replica, plan, deleted: None, failed: None };
        if args.apply && !row.plan.is_empty() {
            let pruned = prune(&store, &row.plan).await;
            row.deleted = Some(pruned.gone.len() + pruned.proofs.len());
            row.failed = pruned.error.map(|error| (pruned.failed, error.to_string()));
        }
        rows.push(row);
    }
    let exit = if rows.iter().any(|row| row.failed.is_some()) { Exit::Partial } else { Exit::Done };
    print(args.output, &rows, |rows| rows.iter().map(|row| text(row, args.apply)).collect());
    Ok(exit)
}

/// The replicas and their rules: a URL with `--keep`, or those of the description.
fn wanted(args: &Prune) -> Result<Vec<(String, Policy)>, Failure> {
    match (&args.url, &args.keep) {
        (Some(url), Some(keep)) => {
            let keep = Keep::parse(keep).map_err(|why| Failure::usage(format!("--keep: {why}")))?;
            Ok(vec![(url.clone(), Policy { keep, ..Policy::default() })])
        }
        (Some(_), None) => Err(Failure::usage(
            "a url says nothing about what to keep; add --keep all=7d,daily=7 or name the description with --config",
        )),
        (None, Some(_)) => {
            Err(Failure::usage("--keep goes with a url; the description has rules of its own"))
        }
        (None, None) => {
            let pairs = pairs::resolve(&args.selection()).map_err(Failure::usage)?;
            Ok(pairs.all.into_iter().map(|pair| (pair.replica, pair.policy)).collect())
        }
    }
}

async fn open(url: &str, clock: &Arc<dyn Clock>, ids: &Arc<dyn IdGen>) -> Result<Store, Failure> {
    let parsed = StoreUrl::parse(url).map_err(Failure::usage)?;
    let opened = store::open(&parsed, OpenConfig::new(clock.clone(), ids.clone())).await;
    opened.map_err(|error| Failure::new(exit_of(sqlite_replica::Error::from(error.clone()).class()), error))
}

fn text(row: &Row, apply: bool) -> String {
    let end = match (row.deleted, &row.failed) {
        (Some(deleted), Some((failed, why))) => format!("deleted {deleted}; {failed} would not go: {why}"),
        (Some(deleted), None) => format!("deleted {deleted}"),
        (None, _) if apply || row.plan.is_empty() => "nothing was deleted".to_owned(),
        (None, _) => "nothing was deleted; --apply does it".to_owned(),
    };
    format!("{}\n{}\n{end}\n", row.replica, row.plan)
}
