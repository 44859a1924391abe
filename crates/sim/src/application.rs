//! What the application does: transactions of all kinds, long readers, its own checkpoints, VACUUM.

use crate::volume::Volume;
use anyhow::Result;
use rusqlite::{Connection, ErrorCode};
use testkit::rng::Rng;

/// Most connections of an application.
const CONNECTIONS: usize = 3;

/// One thing an application does; the text is for the trace.
pub fn act(volume: &mut Volume, rng: &mut Rng) -> Result<String> {
    let open = volume.connections.len();
    if open == 0 || (open < CONNECTIONS && rng.one_in(12)) {
        volume.open(rng)?;
        return Ok(format!("app opens connection {open}"));
    }
    let at = rng.below(open as u64) as usize;
    if rng.one_in(25) {
        // The last one checkpoints and deletes the WAL, if nobody else has it open.
        volume.forget_probe();
        drop(volume.connections.remove(at));
        return Ok(format!("app closes connection {at}"));
    }
    let connection = &volume.connections[at];
    let in_transaction = !connection.is_autocommit();
    let what = match rng.below(40) {
        0..=16 if !in_transaction => ("commits", transaction(connection, rng, true)),
        17..=19 if !in_transaction => ("begins to write", transaction(connection, rng, false)),
        20..=22 if !in_transaction => (
            "begins to read",
            connection
                .execute_batch("BEGIN")
                .and_then(|()| connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))),
        ),
        23 => ("checkpoints passively", checkpoint(connection, "PASSIVE")),
        24 => ("checkpoints fully", checkpoint(connection, "FULL")),
        25 => ("restarts the wal", checkpoint(connection, "RESTART")),
        26 => ("truncates the wal", checkpoint(connection, "TRUNCATE")),
        27 if !in_transaction => ("vacuums", connection.execute_batch("VACUUM")),
        28 if !in_transaction => (
            "grows by free pages",
            connection.execute_batch(
                "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS g(x); INSERT INTO g VALUES(zeroblob(30000)); DROP TABLE g; COMMIT",
            ),
        ),
        _ if in_transaction && rng.one_in(3) => ("rolls back", connection.execute_batch("ROLLBACK")),
        _ if in_transaction => ("commits what it began", connection.execute_batch("COMMIT")),
        _ => ("commits", transaction(connection, rng, true)),
    };
    let outcome = match what.1 {
        Ok(()) => "ok",
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                if !connection.is_autocommit() && !in_transaction {
                    connection.execute_batch("ROLLBACK")?;
                }
                "busy"
            }
            _ => return Err(error.into()),
        },
    };
    Ok(format!("app {at} {}: {outcome}", what.0))
}

/// A transaction that leaves a state nobody has seen before.
fn transaction(connection: &Connection, rng: &mut Rng, commit: bool) -> rusqlite::Result<()> {
    let tag = rng.next_u64() as i64;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let work = (|| {
        connection.execute_batch("CREATE TABLE IF NOT EXISTS state(id INTEGER PRIMARY KEY, tag INTEGER); CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x BLOB)")?;
        connection.execute("INSERT OR REPLACE INTO state VALUES(1, ?1)", [tag])?;
        for _ in 0..rng.range(0, 4) {
            let id = rng.below(60) as i64;
            match rng.below(4) {
                0 => connection.execute("DELETE FROM t WHERE id BETWEEN ?1 AND ?1 + 3", [id])?,
                1 if rng.one_in(6) => connection.execute("DELETE FROM t", [])?,
                _ => {
                    let size = if rng.one_in(12) { 20_000 } else { rng.below(900) };
                    let mut blob = vec![0_u8; size as usize];
                    let mut content = Rng::of(&[tag as u64, id as u64]);
                    blob.chunks_mut(8)
                        .for_each(|c| c.copy_from_slice(&content.next_u64().to_le_bytes()[..c.len()]));
                    connection.execute("INSERT OR REPLACE INTO t VALUES(?1, ?2)", (id, blob))?
                }
            };
        }
        if commit { connection.execute_batch("COMMIT") } else { Ok(()) }
    })();
    if work.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    work
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}
