//! The content of databases: documents of which one half compresses well and the other not at all, and an index.

use anyhow::Result;
use rusqlite::Connection;
use testkit::rng::Rng;

/// Rows per transaction of the filling.
const ROWS: usize = 2000;

/// One document: 200 to 3,000 bytes.
pub(crate) fn body(rng: &mut Rng) -> Vec<u8> {
    let half = rng.range(100, 1500) as usize;
    let mut body = rng.text(half);
    body.extend(rng.bytes(half));
    body
}

/// Creates the table with documents until the database has at least `bytes`.
pub(crate) fn fill(db: &mut Connection, bytes: u64) -> Result<()> {
    db.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA synchronous = off; PRAGMA cache_size = -16000;
         CREATE TABLE document(id INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL);
         CREATE INDEX document_name ON document(name);",
    )?;
    let mut rng = Rng::new(bytes);
    while u64::from(db.query_row("PRAGMA page_count", [], |row| row.get::<_, u32>(0))?) * 4096 < bytes {
        let transaction = db.transaction()?;
        let mut insert = transaction.prepare("INSERT INTO document(name, body) VALUES (?1, ?2)")?;
        for _ in 0..ROWS.min(1 + bytes as usize / 4096) {
            insert.execute((format!("{:016x}", rng.next_u64()), body(&mut rng)))?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(())
}
