//! The proof that a database is exactly a prefix of the plan (P2).
//!
//! The ledger says how far; the plan is replayed up to there in memory, and every row of every table must be what the
//! replay says: a missing row, a row too many, a row of another transaction and a changed byte all show.
//! Memory grows with the live rows (some hundred bytes each), not with the bytes of the documents.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rusqlite::Connection;

use super::plan::{DocumentOp, Effects, Shape, body};
use super::schema;

/// What was proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The database holds the transactions 1 to this one; 0 for none.
    pub last_seq: u64,
    /// Rows of `account`.
    pub accounts: u64,
    /// Rows of `event`.
    pub events: u64,
    /// Rows of `document`.
    pub documents: u64,
    /// Bytes of all documents.
    pub document_bytes: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { last_seq, accounts, events, documents, document_bytes } = self;
        write!(
            f,
            "last_seq={last_seq} accounts={accounts} events={events} documents={documents} \
             document_bytes={document_bytes}"
        )
    }
}

/// Tables after a prefix of the plan.
#[derive(Default)]
struct Replay {
    /// Balance and last transaction.
    accounts: BTreeMap<i64, (i64, i64)>,
    /// Account and amount.
    events: BTreeMap<(i64, i64), (i64, i64)>,
    /// The transaction and what it did.
    documents: BTreeMap<i64, (u64, DocumentOp)>,
    total: i64,
    digest: Vec<u8>,
}

/// Proves that the database at `path` is exactly the transactions 1 to `last_seq`, or says what is wrong.
///
/// Reads in one transaction, so that it may run beside writers. A database without the application's tables is the
/// empty prefix only where it has no tables at all.
pub fn verify(path: &Path) -> Result<Report, String> {
    if !path.exists() {
        return Err(format!("{}: no such file", path.display()));
    }
    let had_writer = schema::has_wal(path);
    let verdict = look(path);
    // One that began meanwhile may have changed what was read without locks.
    if schema::has_wal(path) && !had_writer { look(path) } else { verdict }
}

fn look(path: &Path) -> Result<Report, String> {
    let fail = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let mut db = schema::open_to_read(path).map_err(fail)?;
    let snapshot = db.transaction().map_err(fail)?;
    check(&snapshot).map_err(fail)?.map_err(|what| format!("{}: {what}", path.display()))
}

fn check(db: &Connection) -> rusqlite::Result<Result<Report, String>> {
    let integrity: String = db.query_row("PRAGMA integrity_check(5)", (), |row| row.get(0))?;
    if integrity != "ok" {
        return Ok(Err(format!("integrity_check: {integrity}")));
    }
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if tables == 0 {
        return Ok(Ok(Report::default()));
    }
    let shape = schema::shape(db)?;
    let mut replay = Replay::default();
    let last_seq = match ledger(db, &shape, &mut replay)? {
        Ok(last_seq) => last_seq,
        Err(what) => return Ok(Err(what)),
    };
    let mut report = Report { last_seq, ..Report::default() };
    let verdict = accounts(db, &replay, &mut report)?.and(events(db, &replay, &mut report)?).and(documents(
        db,
        &shape,
        &replay,
        &mut report,
    )?);
    Ok(verdict.map(|()| report).map_err(|what| format!("{what} (ledger ends at {last_seq})")))
}

/// Walks the ledger and replays beside it.
fn ledger(db: &Connection, shape: &Shape, replay: &mut Replay) -> rusqlite::Result<Result<u64, String>> {
    let mut statement =
        db.prepare("SELECT seq, events, sum, total, documents, digest FROM ledger ORDER BY seq")?;
    let mut rows = statement.query(())?;
    let mut last = 0;
    while let Some(row) = rows.next()? {
        let effects = Effects::of(shape, last + 1);
        replay.apply(&effects);
        let found: (i64, i64, i64, i64, i64, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
        let (events, documents) = (effects.events.len() as i64, effects.documents.len() as i64);
        let expected =
            (effects.seq as i64, events, effects.sum(), replay.total, documents, replay.digest.clone());
        if found != expected {
            return Ok(Err(format!("ledger row {}: found {found:?}, expected {expected:?}", last + 1)));
        }
        last += 1;
    }
    Ok(Ok(last))
}

impl Replay {
    fn apply(&mut self, effects: &Effects) {
        let seq = effects.seq as i64;
        for (k, (account, amount)) in effects.events.iter().enumerate() {
            let account = *account as i64;
            self.events.insert((seq, k as i64), (account, *amount));
            let entry = self.accounts.entry(account).or_default();
            *entry = (entry.0 + amount, seq);
        }
        if let Some(forget) = effects.forget {
            let forget = forget as i64;
            let keys: Vec<_> = self.events.range((forget, 0)..(forget + 1, 0)).map(|(key, _)| *key).collect();
            for key in keys {
                self.events.remove(&key);
            }
        }
        for op in &effects.documents {
            match op.size {
                None => self.documents.remove(&(op.id as i64)),
                Some(_) => self.documents.insert(op.id as i64, (effects.seq, *op)),
            };
        }
        self.total += effects.sum();
        self.digest = effects.chain(&self.digest);
    }
}

type Verdict = rusqlite::Result<Result<(), String>>;

fn accounts(db: &Connection, replay: &Replay, report: &mut Report) -> Verdict {
    let mut statement = db.prepare("SELECT id, balance, last_seq FROM account ORDER BY id")?;
    let found = statement.query_map((), |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    let found: BTreeMap<i64, (i64, i64)> = found.collect::<rusqlite::Result<_>>()?;
    report.accounts = found.len() as u64;
    Ok(same("account", &found, &replay.accounts))
}

fn events(db: &Connection, replay: &Replay, report: &mut Report) -> Verdict {
    let mut statement = db.prepare("SELECT seq, k, account, amount FROM event ORDER BY seq, k")?;
    let found =
        statement.query_map((), |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))?;
    let found: BTreeMap<(i64, i64), (i64, i64)> = found.collect::<rusqlite::Result<_>>()?;
    report.events = found.len() as u64;
    Ok(same("event", &found, &replay.events))
}

fn documents(db: &Connection, shape: &Shape, replay: &Replay, report: &mut Report) -> Verdict {
    let mut statement = db.prepare("SELECT id, seq, body FROM document ORDER BY id")?;
    let mut rows = statement.query(())?;
    let mut expected = replay.documents.iter();
    loop {
        match (rows.next()?, expected.next()) {
            (None, None) => return Ok(Ok(())),
            (None, Some((id, (seq, _)))) => {
                return Ok(Err(format!("document {id} of transaction {seq} is missing")));
            }
            (Some(row), None) => {
                return Ok(Err(format!("document {} should not be there", row.get::<_, i64>(0)?)));
            }
            (Some(row), Some((id, (seq, op)))) => {
                let found: (i64, i64) = (row.get(0)?, row.get(1)?);
                if found != (*id, *seq as i64) {
                    let (id, seq) = (*id, *seq);
                    return Ok(Err(format!("document: found (id, seq) {found:?}, expected {:?}", (id, seq))));
                }
                let bytes = row.get_ref(2)?.as_blob()?;
                if bytes != body(shape, *seq, op) {
                    return Ok(Err(format!("document {id} of transaction {seq} has other bytes")));
                }
                report.documents += 1;
                report.document_bytes += bytes.len() as u64;
            }
        }
    }
}

fn same<K: Ord + fmt::Debug, V: PartialEq + fmt::Debug>(
    table: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Result<(), String> {
    for (key, value) in expected {
        match found.get(key) {
            None => return Err(format!("{table} {key:?} is missing, expected {value:?}")),
            Some(other) if other != value => {
                return Err(format!("{table} {key:?} is {other:?}, expected {value:?}"));
            }
            Some(_) => {}
        }
    }
    match found.keys().find(|key| !expected.contains_key(key)) {
        Some(key) => Err(format!("{table} {key:?} should not be there")),
        None => Ok(()),
    }
}
