//! `wal-streamer sync`, `snapshot` and `status`: questions to the running process, over its control socket.

use crate::cli::{Ask, Snapshot, Status, Sync};
use crate::control::{Request, SOCKET};
use door::{Failure, Output, print};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use telemetry::{Exit, control};

/// Beyond the timeout that the process itself keeps.
const MARGIN: Duration = Duration::from_secs(5);

pub(crate) fn sync(args: Sync) -> Result<Exit, Failure> {
    let socket = socket(&args.ask, args.database.as_deref());
    let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Sync { database: args.database, wait: args.wait, timeout_ms };
    let answer = ask(&socket, &request, args.timeout.saturating_add(MARGIN))?;
    finish(args.ask.output, answer, |answer| lines(answer, "not durable"))
}

pub(crate) fn snapshot(args: Snapshot) -> Result<Exit, Failure> {
    let socket = socket(&args.ask, args.database.as_deref());
    let answer = ask(&socket, &Request::Snapshot { database: args.database }, MARGIN)?;
    finish(args.ask.output, answer, |answer| lines(answer, "no snapshot"))
}

/// One line per database.
fn lines(answer: &Value, failure: &str) -> String {
    let mut out = String::new();
    for row in rows(&answer["databases"]) {
        let detail = match row["state"].as_str() {
            Some("durable") => format!("durable at TXID {}", text(&row["txid"])),
            Some("asked") => "asked".to_owned(),
            _ => format!("{failure}: {}", text(&row["error"])),
        };
        let _ = writeln!(out, "{}: {detail}", text(&row["database"])); // writing to a String cannot fail
    }
    out
}

pub(crate) fn status(args: Status) -> Result<Exit, Failure> {
    let socket = socket(&args.ask, args.database.as_deref());
    let answer = ask(&socket, &Request::Status { database: args.database }, MARGIN)?;
    finish(args.ask.output, answer, table)
}

fn ask(socket: &Path, request: &Request, timeout: Duration) -> Result<Value, Failure> {
    let request = serde_json::to_value(request).expect("requests are plain data");
    control::ask(socket, &request, timeout).map_err(|error| Failure::new(Exit::Failed, error))
}

/// Prints the answer; the exit code is in it.
fn finish(output: Output, mut answer: Value, shown: impl FnOnce(&Value) -> String) -> Result<Exit, Failure> {
    let code = answer["exit"].as_u64().unwrap_or(1);
    let all = [Exit::Done, Exit::Usage, Exit::Refused, Exit::Damaged, Exit::Fenced, Exit::Partial];
    let exit = all.into_iter().find(|exit| u64::from(exit.code()) == code).unwrap_or(Exit::Failed);
    if let Some(error) = answer["error"].as_str() {
        return Err(Failure::new(exit, error));
    }
    if let Some(document) = answer.get_mut("status") {
        answer = document.take();
    }
    print(output, &answer, shown);
    Ok(exit)
}

/// The socket of the process that is meant.
fn socket(ask: &Ask, database: Option<&str>) -> PathBuf {
    if let Some(socket) = &ask.socket {
        return socket.clone();
    }
    let run = std::env::var_os("HIGHWATER_RUN_DIR").unwrap_or_else(|| protect::handover::RUN_DIR.into());
    let pod = Path::new(&run).join(SOCKET);
    let beside = |path: &Path| path.parent().map(|dir| dir.join(".highwater").join(SOCKET));
    let by_hand = database.and_then(|database| beside(Path::new(database)));
    let here = Path::new(".highwater").join(SOCKET);
    let mut candidates = by_hand.into_iter().chain([pod.clone(), here]);
    candidates.find(|path| path.exists()).unwrap_or(pod)
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn table(status: &Value) -> String {
    let mut out = format!(
        "{:<28} {:<24} {:>8} {:<16} {:<24} {}\n",
        "DATABASE", "STATE", "LAG", "TXID", "LAST DURABLE", "ERROR"
    );
    for row in rows(&status["databases"]) {
        let lag = row["lag_seconds"].as_f64().unwrap_or(0.0);
        let _ = writeln!(
            out,
            "{:<28} {:<24} {:>7.1}s {:<16} {:<24} {}",
            text(&row["name"]),
            text(&row["state"]),
            lag,
            text(&row["txid"]),
            text(&row["last_durable"]),
            text(&row["error"])
        );
    }
    out
}
