//! `restore drill`: a rehearsal with a result that machines read: exit code, object in the replica, metrics in a file.

use crate::cli;
use crate::progress;
use crate::values::bytes;
use clock::{SystemClock, SystemIds};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use seal::Identities;
use sqlite_replica::{
    Catalogue, Drill, DrillOptions, Error, Progress, RestoreOptions, drill, refuse_foreign,
};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: cli::Drill, identities: Option<Arc<Identities>>) -> Result<Exit, Error> {
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let (store, catalogue) = Catalogue::open(&store).await?;
    if catalogue.entries.is_empty() {
        refuse_foreign(&store).await?;
    }
    let probe = |database: &Path| {
        if let Some(query) = &args.sql {
            ask(database, query)?;
        }
        match &args.command {
            Some(command) => ask_shell("HIGHWATER_DRILL_DB", database, command),
            None => Ok(()),
        }
    };
    let options = DrillOptions {
        scratch: args.scratch.clone(),
        restore: RestoreOptions {
            parallelism: usize::from(args.parallelism),
            identities,
            ..RestoreOptions::default()
        },
        probe: &probe,
        record: !args.no_record,
    };
    let progress = Arc::new(Progress::default());
    let shown = progress::show(
        {
            let progress = progress.clone();
            move || progress.fetched()
        },
        0,
    );
    let done = drill(&store, &options, &SystemClock, &SystemIds::default(), &progress).await;
    shown.finish();
    let done = done?;
    if let Some(path) = &args.metrics {
        let told = Told {
            app: &done.app,
            name: &done.database,
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
            hint: "`restore verify` says what is provable".into(),
        }),
    }
}

fn text(done: &Drill) -> String {
    let mut text = String::new();
    for point in &done.points {
        let r = &point.restored;
        let proven = if r.proven { ", proven by its rolling checksum" } else { "" };
        text += &format!(
            "restored TXID {} of {}: {} in {:.2} s, integrity_check ok{proven}\n",
            r.txid,
            r.timestamp,
            bytes(r.bytes),
            point.seconds
        );
    }
    text + if done.ok { "drill ok" } else { "drill FAILED" }
}

/// The first value of the first row has to be something.
fn ask(database: &Path, query: &str) -> Result<(), String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let answer = Connection::open_with_flags(database, flags)
        .and_then(|connection| connection.query_row(query, [], |row| row.get::<_, Value>(0)));
    match answer {
        Ok(Value::Null) => Err(format!("{query}: NULL")),
        Ok(Value::Integer(0)) => Err(format!("{query}: 0")),
        Ok(Value::Text(text)) if text.is_empty() => Err(format!("{query}: an empty text")),
        Ok(Value::Blob(blob)) if blob.is_empty() => Err(format!("{query}: an empty blob")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{query}: {error}")),
    }
}

/// A command that finds what was restored in the variable `name`.
pub(crate) fn ask_shell(name: &str, restored: &Path, command: &str) -> Result<(), String> {
    let status = Command::new("/bin/sh")
        .args(["-c", command])
        .env(name, restored)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command}: {status}")),
        Err(error) => Err(format!("{command}: cannot be started (no shell in this image?): {error}")),
    }
}

/// What metrics say about a drill of any kind.
pub(crate) struct Told<'a> {
    pub(crate) app: &'a str,
    /// The database, or the tree.
    pub(crate) name: &'a str,
    pub(crate) ok: bool,
    pub(crate) seconds: f64,
    pub(crate) finished: &'a str,
}

/// Prometheus' textfile format, renamed into place because the collector reads at any time. A failed drill leaves out the time of the
/// last success: the alert on its age needs the collector to forget nothing, which a CronJob's exporter does.
pub(crate) fn write_metrics(path: &Path, done: &Told<'_>) -> std::io::Result<()> {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels = format!("app=\"{}\",db=\"{}\"", escape(done.app), escape(done.name));
    let mut text = format!(
        "# HELP highwater_drill_last_result Whether the last restore drill went well.\n\
         # TYPE highwater_drill_last_result gauge\n\
         highwater_drill_last_result{{{labels}}} {}\n\
         # HELP highwater_drill_duration_seconds How long the last restore drill took.\n\
         # TYPE highwater_drill_duration_seconds gauge\n\
         highwater_drill_duration_seconds{{{labels}}} {}\n",
        u8::from(done.ok),
        done.seconds
    );
    if done.ok {
        let finished = clock::parse_unix_ms(done.finished).unwrap_or_default() as f64 / 1000.0;
        text += &format!(
            "# HELP highwater_drill_last_success_timestamp_seconds When a restore drill last went well.\n\
             # TYPE highwater_drill_last_success_timestamp_seconds gauge\n\
             highwater_drill_last_success_timestamp_seconds{{{labels}}} {finished}\n"
        );
    }
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}
