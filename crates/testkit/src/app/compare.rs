//! Two database files beside each other: page by page as bytes, and row by row as SQL sees them.
//!
//! The bytes are those of the main files: what still lies in a WAL is seen by the rows only. Do not compare a file
//! that a connection of this very process has open: reading and closing it would drop that connection's POSIX locks.

use std::fmt;
use std::fs;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use super::schema;

/// Differences of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableComparison {
    /// Its name.
    pub name: String,
    /// Rows on each side.
    pub rows: (u64, u64),
    /// The first row that differs, by position, with both values.
    pub first_difference: Option<String>,
}

/// See [`compare_dbs`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Bytes per page, of the first file.
    pub page_size: u32,
    /// Pages on each side.
    pub pages: (u32, u32),
    /// Numbers (from 1) of pages that differ or exist on one side only.
    pub differing_pages: Vec<u32>,
    /// Whether both have the same schema.
    pub same_schema: bool,
    /// All tables of the first database; empty when the schemas differ.
    pub tables: Vec<TableComparison>,
}

impl Comparison {
    /// Bit-identical files (P1).
    pub fn same_bytes(&self) -> bool {
        self.differing_pages.is_empty()
    }

    /// Same schema, same rows.
    pub fn same_rows(&self) -> bool {
        self.same_schema && self.tables.iter().all(|table| table.first_difference.is_none())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.differing_pages[..self.differing_pages.len().min(20)];
        write!(
            f,
            "pages {} and {}, {} differ {shown:?}; same schema: {}",
            self.pages.0,
            self.pages.1,
            self.differing_pages.len(),
            self.same_schema
        )?;
        for table in &self.tables {
            let difference = table.first_difference.as_deref().unwrap_or("same");
            write!(f, "\n{}: {} and {} rows, {difference}", table.name, table.rows.0, table.rows.1)?;
        }
        Ok(())
    }
}

/// Compares two databases; errors when one cannot be read.
pub fn compare_dbs(a: &Path, b: &Path) -> Result<Comparison, String> {
    let mut comparison = Comparison::default();
    compare_pages(a, b, &mut comparison)?;
    let open =
        |path: &Path| schema::open_to_read(path).map_err(|error| format!("{}: {error}", path.display()));
    compare_rows(&open(a)?, &open(b)?, &mut comparison).map_err(|error| error.to_string())?;
    Ok(comparison)
}

/// A digest of schema and all rows, independent of how they lie on pages (as `dbhash` does).
pub fn db_digest(path: &Path) -> Result<String, String> {
    let digest = || -> rusqlite::Result<String> {
        let db = schema::open_to_read(path)?;
        let mut hasher = Sha256::new();
        for sql in [SCHEMA.to_owned()].into_iter().chain(queries(&db)?.into_iter().map(|(_, sql)| sql)) {
            hasher.update(&sql);
            let mut statement = db.prepare(&sql)?;
            let mut rows = statement.query(())?;
            while let Some(row) = rows.next()? {
                hasher.update(describe(row)?);
            }
        }
        Ok(hex::encode(hasher.finalize()))
    };
    digest().map_err(|error| format!("{}: {error}", path.display()))
}

fn compare_pages(a: &Path, b: &Path, comparison: &mut Comparison) -> Result<(), String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let (a, b) = (read(a)?, read(b)?);
    // Offset 16 of the header; 1 stands for 65536.
    let size = match a.get(16..18).map(|bytes| u32::from(bytes[0]) << 8 | u32::from(bytes[1])) {
        None | Some(0) => 4096,
        Some(1) => 65536,
        Some(size) => size,
    };
    let pages = |bytes: &[u8]| u32::try_from(bytes.len().div_ceil(size as usize)).unwrap_or(u32::MAX);
    comparison.page_size = size;
    comparison.pages = (pages(&a), pages(&b));
    let page = |bytes: &[u8], number: u32| {
        let start = (number as usize - 1) * size as usize;
        bytes.get(start..bytes.len().min(start + size as usize)).map(<[u8]>::to_vec)
    };
    let most = comparison.pages.0.max(comparison.pages.1);
    comparison.differing_pages = (1..=most).filter(|n| page(&a, *n) != page(&b, *n)).collect();
    Ok(())
}

const SCHEMA: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";

/// Every table, and the statement that reads it in a fixed order.
fn queries(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name != 'sqlite_schema'
         ORDER BY name",
    )?;
    let tables = statement.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
    tables
        .map(|table| {
            let (name, without_rowid) = table?;
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            let sql = match without_rowid {
                false => format!("SELECT rowid, * FROM {quoted} ORDER BY rowid"),
                true => {
                    let keys = "SELECT group_concat('\"' || name || '\"') FROM
                        (SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk)";
                    let keys: String = db.query_row(keys, [&name], |row| row.get(0))?;
                    format!("SELECT * FROM {quoted} ORDER BY {keys}")
                }
            };
            Ok((name, sql))
        })
        .collect()
}

fn compare_rows(a: &Connection, b: &Connection, comparison: &mut Comparison) -> rusqlite::Result<()> {
    comparison.same_schema = side_by_side(a, b, SCHEMA)?.1.is_none();
    if comparison.same_schema {
        for (name, sql) in queries(a)? {
            let (rows, first_difference) = side_by_side(a, b, &sql)?;
            comparison.tables.push(TableComparison { name, rows, first_difference });
        }
    }
    Ok(())
}

fn side_by_side(a: &Connection, b: &Connection, sql: &str) -> rusqlite::Result<((u64, u64), Option<String>)> {
    let (mut a, mut b) = (a.prepare(sql)?, b.prepare(sql)?);
    let (mut a, mut b) = (a.query(())?, b.query(())?);
    let (mut counts, mut difference) = ((0, 0), None);
    loop {
        let left = a.next()?.map(describe).transpose()?;
        let right = b.next()?.map(describe).transpose()?;
        if left.is_none() && right.is_none() {
            return Ok((counts, difference));
        }
        counts.0 += u64::from(left.is_some());
        counts.1 += u64::from(right.is_some());
        if left != right && difference.is_none() {
            let shown =
                |row: Option<String>| row.map_or("nothing".to_owned(), |row| row.chars().take(120).collect());
            difference = Some(format!("row {}: {} / {}", counts.0.max(counts.1), shown(left), shown(right)));
        }
    }
}

/// A row as text that tells types apart; long values by digest.
fn describe(row: &Row<'_>) -> rusqlite::Result<String> {
    let mut text = String::new();
    for column in 0..row.as_ref().column_count() {
        text.push_str(&match row.get_ref(column)? {
            ValueRef::Null => "null|".to_owned(),
            ValueRef::Integer(number) => format!("{number}|"),
            ValueRef::Real(number) => format!("r{:x}|", number.to_bits()),
            ValueRef::Text(bytes) => format!("t{}:{}|", bytes.len(), String::from_utf8_lossy(bytes)),
            ValueRef::Blob(bytes) => format!("b{}:{}|", bytes.len(), hex::encode(Sha256::digest(bytes))),
        });
    }
    Ok(text)
}
