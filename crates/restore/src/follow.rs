//! `restore sqlite --follow`: keeps the restored copy up with its replica until told to stop.

use crate::cli::Sqlite;
use sqlite_replica::{Class, Error, Follower, RestoreOptions};
use std::time::Duration;
use store::Store;
use telemetry::{Exit, Shutdown};

/// Longest pause while the store cannot be asked.
const LONGEST: Duration = Duration::from_secs(60);
/// Shortest pause, whatever was asked for: each look is a request (P7).
const SHORTEST: Duration = Duration::from_millis(100);

/// The follower of a copy that was followed before; `None` if there is none.
pub(crate) fn resumed(
    args: &Sqlite,
    store: &Store,
    options: &RestoreOptions,
) -> Result<Option<Follower>, Error> {
    match Follower::resume_at(&args.output)? {
        None => Ok(None),
        Some(at) => Follower::new(store, &args.output, at, options.clone()).map(Some),
    }
}

/// Follows until a signal comes. Trouble is told when it changes, and does not end it: a standby that gives up is none.
pub(crate) async fn follow(args: &Sqlite, mut follower: Follower) -> Result<Exit, Error> {
    let shutdown = Shutdown::on_signals().map_err(|e| Error::Io {
        path: args.output.clone(),
        doing: "listen for signals beside",
        source: std::io::Error::other(e),
    })?;
    tracing::info!(path = %args.output.display(), txid = %follower.at(), "following");
    let interval = args.interval.max(SHORTEST);
    let (mut told, mut pause) = (String::new(), interval);
    loop {
        match follower.step().await {
            Ok(applied) => {
                if let Some(applied) = applied {
                    tracing::info!(
                        txid = applied.txid,
                        timestamp = applied.timestamp,
                        pages = applied.pages,
                        bridged = applied.bridged,
                        "applied"
                    );
                }
                (told, pause) = (String::new(), interval);
            }
            Err(error) => {
                let line = error.to_string();
                if line != told {
                    tracing::warn!(error = line, "cannot follow for now");
                    told = line;
                }
                let slower = if error.class() == Class::Retriable { pause * 2 } else { LONGEST };
                pause = slower.min(LONGEST);
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(Exit::Done),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
