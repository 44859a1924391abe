//! The answers of the control socket; what they mean is described in `docs/formats/control-socket.md`.

use crate::observe::Observers;
use door::exit_of;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlite_replica::{Error, FleetHandle, State, Status};
use std::sync::Arc;
use std::time::Duration;
use telemetry::Exit;
use telemetry::control::Handler;

/// File name of the socket.
pub(crate) const SOCKET: &str = "wal-streamer.sock";

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Request {
    /// Make everything committed before now durable.
    Sync {
        #[serde(default)]
        database: Option<String>,
        #[serde(default)]
        wait: bool,
        #[serde(default = "thirty_seconds")]
        timeout_ms: u64,
    },
    /// Take a full image of every database.
    Snapshot {
        #[serde(default)]
        database: Option<String>,
    },
    /// How every database stands.
    Status {
        #[serde(default)]
        database: Option<String>,
    },
}

fn thirty_seconds() -> u64 {
    30_000
}

/// Answers with the fleet's help.
pub(crate) fn handler(fleet: FleetHandle, observers: Arc<Observers>) -> Handler {
    Arc::new(move |request| {
        let (fleet, observers) = (fleet.clone(), observers.clone());
        Box::pin(async move {
            match serde_json::from_value(request) {
                Ok(Request::Sync { database, wait, timeout_ms }) => {
                    sync(&fleet, database.as_deref(), wait, Duration::from_millis(timeout_ms)).await
                }
                Ok(Request::Snapshot { database }) => snapshot(&fleet, database.as_deref()).await,
                Ok(Request::Status { database }) => status(&fleet, &observers, database.as_deref()),
                Err(error) => refusal(Exit::Usage, format!("the request is not understood: {error}")),
            }
        })
    })
}

fn refusal(exit: Exit, error: String) -> Value {
    json!({ "exit": exit.code(), "error": error })
}

/// The databases that are meant, or why there is none.
fn meant(fleet: &FleetHandle, database: Option<&str>) -> Result<Vec<Status>, Value> {
    let all = fleet.databases();
    let Some(name) = database else { return Ok(all) };
    let is = |status: &Status| status.name == name || status.path.as_os_str() == name;
    let names: Vec<String> = all.iter().map(|status| status.name.clone()).collect();
    let found: Vec<Status> = all.into_iter().filter(is).collect();
    match found.is_empty() {
        true => Err(refusal(Exit::Usage, format!("no database {name} here; there are {}", names.join(", ")))),
        false => Ok(found),
    }
}

async fn sync(fleet: &FleetHandle, database: Option<&str>, wait: bool, timeout: Duration) -> Value {
    let meant = match meant(fleet, database) {
        Ok(meant) => meant,
        Err(refusal) => return refusal,
    };
    if !wait {
        let asked: Vec<Value> =
            meant.iter().map(|one| json!({ "database": one.name, "state": "asked" })).collect();
        let fleet = fleet.clone();
        tokio::spawn(async move {
            // Nobody waits for the answer; the question is what counts.
            join_all(meant.iter().map(|one| fleet.sync(Some(&one.name)))).await
        });
        return json!({ "exit": 0, "databases": asked });
    }
    let done = join_all(meant.into_iter().map(|one| sync_one(fleet, one, timeout))).await;
    let exit = done.iter().map(|(exit, _)| *exit).max().unwrap_or(Exit::Done);
    let rows: Vec<Value> = done.into_iter().map(|(_, row)| row).collect();
    json!({ "exit": exit.code(), "databases": rows })
}

async fn sync_one(fleet: &FleetHandle, before: Status, timeout: Duration) -> (Exit, Value) {
    let name = before.name;
    if before.state == State::Waiting && !before.path.exists() {
        return (Exit::Done, json!({ "database": name, "state": "durable", "txid": null }));
    }
    let failed =
        |exit: Exit, error: String| (exit, json!({ "database": name, "state": "failed", "error": error }));
    let Ok(answers) = tokio::time::timeout(timeout, fleet.sync(Some(&name))).await else {
        return failed(Exit::Partial, format!("not in the store after {} s", timeout.as_secs_f32()));
    };
    let Some((_, answer)) = answers.into_iter().next() else {
        return failed(Exit::Partial, "it is no longer followed".into());
    };
    match answer {
        Ok(synced) => {
            let txid = format!("{:016x}", synced.txid);
            (Exit::Done, json!({ "database": name, "state": "durable", "txid": txid }))
        }
        Err(error) => why_not(fleet, &name, &error),
    }
}

async fn snapshot(fleet: &FleetHandle, database: Option<&str>) -> Value {
    if let Err(refusal) = meant(fleet, database) {
        return refusal;
    }
    let asked = fleet.snapshot(database).await;
    let rows = asked.into_iter().map(|(status, answer)| match answer {
        Ok(_) => (Exit::Done, json!({ "database": status.name, "state": "asked" })),
        Err(error) => why_not(fleet, &status.name, &error),
    });
    let (exits, rows): (Vec<Exit>, Vec<Value>) = rows.unzip();
    json!({ "exit": exits.into_iter().max().unwrap_or(Exit::Done).code(), "databases": rows })
}

/// Why a database did not do what was asked; without a writer, the reason is what that ended with.
fn why_not(fleet: &FleetHandle, name: &str, error: &Error) -> (Exit, Value) {
    let failed =
        |exit: Exit, error: String| (exit, json!({ "database": name, "state": "failed", "error": error }));
    if !matches!(error, Error::Stopped) {
        return failed(exit_of(error.class()), error.to_string());
    }
    let now = fleet.databases().into_iter().find(|status| status.name == name);
    let (state, error) = now.map_or((State::Ended, None), |status| (status.state, status.error));
    let exit = match state {
        State::Fenced => Exit::Fenced,
        State::Refused => Exit::Refused,
        _ => Exit::Partial,
    };
    failed(exit, error.unwrap_or_else(|| "its writer is not running".into()))
}

fn status(fleet: &FleetHandle, observers: &Observers, database: Option<&str>) -> Value {
    if let Err(refusal) = meant(fleet, database) {
        return refusal;
    }
    let mut document = observers.document();
    if let (Some(name), Some(rows)) = (database, document["databases"].as_array_mut()) {
        rows.retain(|row| row["name"] == name || row["database"] == name);
    }
    json!({ "exit": 0, "status": document })
}
