//! `restore drill` of a replica of files.

use crate::cli;
use crate::drill::{Told, ask_shell, write_metrics};
use crate::progress;
use crate::values::bytes;
use clock::{SystemClock, SystemIds};
use file_replica::restore::{Options, Progress};
use file_replica::{Drill, DrillOptions, Error, drill};
use std::path::Path;
use std::sync::Arc;
use store::Store;
use telemetry::Exit;

pub(crate) async fn run(args: &cli::Drill, store: &Store) -> Result<Exit, Error> {
    if args.sql.is_some() {
        return Err(Error::Usage(
            "--sql asks a database, and this is a replica of files; use --command".into(),
        ));
    }
    let probe = |root: &Path| match &args.command {
        Some(command) => ask_shell("HIGHWATER_DRILL_DIR", root, command),
        None => Ok(()),
    };
    let options = DrillOptions {
        scratch: args.scratch.clone(),
        identities: super::identities(args.identity.as_deref())?,
        restore: Options { parallelism: usize::from(args.parallelism), ..Options::default() },
        probe: &probe,
        record: !args.no_record,
    };
    let progress = Arc::new(Progress::default());
    let counted = progress.clone();
    let shown = progress::show(move || counted.fetched(), 0);
    let done = drill(store, &options, &SystemClock, &SystemIds::default(), &progress).await;
    shown.finish();
    let done = done?;
    if let Some(path) = &args.metrics {
        let told = Told {
            app: &done.app,
            name: &done.tree,
            ok: done.ok,
            seconds: done.seconds,
            finished: &done.finished,
        };
        write_metrics(path, &told).map_err(|source| Error::Io {
            path: path.clone(),
            doing: "write metrics to",
            source,
        })?;
    }
    door::print(args.output, &done, text);
    match done.failure {
        None => Ok(Exit::Done),
        Some(what) => Err(Error::Damaged {
            what: format!("the drill failed: {what}"),
            hint: "`restore verify` says what is whole".into(),
        }),
    }
}

fn text(done: &Drill) -> String {
    let mut text = String::new();
    for p in &done.points {
        text += &format!(
            "restored snapshot {} of {}: {} entries, {} in {:.2} s, compared with its manifest\n",
            p.snapshot,
            p.timestamp,
            p.entries,
            bytes(p.bytes),
            p.seconds
        );
    }
    text + if done.ok { "drill ok" } else { "drill FAILED" }
}
