//! Litestream 0.3 generations: what they hold, which one is meant, and back to a database (plain and age-encrypted).
//!
//! A generation is a snapshot of the database file and the WALs after it, cut into segments; all of it LZ4, encrypted as a whole where
//! age was configured. Objects carry no checksum over the chain, so what can be checked is checked: LZ4's content checksums, segments without a
//! hole, SQLite's WAL checksums frame by frame, and only whole transactions are applied (P2). Nothing is written to the store.
//! Facts: the layout of 0.3.0–0.3.14. Litestream 0.5 lies beside it under the same prefix; whichever is newer counts.

mod apply;
mod name;
mod spool;

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::restore::integrity::{self, Integrity};
use crate::restore::object::blocking;
use crate::restore::target::{Target, parent};
use clock::{UnixMs, format_unix_ms};
use futures::TryStreamExt;
use name::{Part, parse};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use store::{Progress, Store};

/// One object of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Number of the WAL it belongs to.
    pub index: u32,
    /// Offset in that WAL; 0 for a snapshot.
    pub offset: u64,
    /// Stored bytes.
    pub size: u64,
    /// When it was stored, ms.
    pub modified_ms: i64,
}

/// One unbroken run of replication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// 16 hex digits.
    pub generation: String,
    /// RFC 3339.
    pub oldest: String,
    /// RFC 3339.
    pub newest: String,
    /// Copies of the database file, ascending.
    pub snapshots: Vec<Object>,
    /// Pieces of WALs, ascending.
    pub segments: Vec<Object>,
    #[serde(skip)]
    newest_ms: i64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (snapshots, segments) = (self.snapshots.len(), self.segments.len());
        let size: u64 = self.snapshots.iter().chain(&self.segments).map(|o| o.size).sum();
        write!(
            f,
            "litestream 0.3 generation {}: {snapshots} snapshots, {segments} segments, {size} bytes, {} to {}",
            self.generation, self.oldest, self.newest
        )
    }
}

/// What to apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The generation.
    pub generation: String,
    /// The copy to start from.
    pub snapshot: Object,
    /// The pieces of WALs to apply, in order.
    pub segments: Vec<Object>,
}

impl Plan {
    /// Bytes to fetch.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|o| o.size).sum::<u64>() + self.snapshot.size
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "litestream 0.3 generation {}: the snapshot of WAL {:08x} and {} segments, {} bytes",
            self.generation,
            self.snapshot.index,
            self.segments.len(),
            self.bytes()
        )
    }
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The generation.
    pub generation: String,
    /// The last WAL applied.
    pub index: u32,
    /// Bytes of the database.
    pub bytes: u64,
    /// Objects read.
    pub objects: usize,
}

/// All generations, newest last.
pub async fn list(store: &Store) -> Result<Vec<Generation>> {
    let mut all: BTreeMap<String, (Vec<Object>, Vec<Object>)> = BTreeMap::new();
    let mut listing = store.list("generations/", None);
    while let Some(meta) = listing.try_next().await? {
        let Some((generation, part)) = parse(&meta.key) else { continue };
        let object = |index, offset| Object {
            index,
            offset,
            size: meta.size,
            modified_ms: meta.modified_ms,
            key: meta.key.clone(),
        };
        let (snapshots, segments) = all.entry(generation.to_owned()).or_default();
        match part {
            Part::Snapshot { index } => snapshots.push(object(index, 0)),
            Part::Segment { index, offset } => segments.push(object(index, offset)),
        }
    }
    let mut generations: Vec<Generation> = all
        .into_iter()
        .map(|(generation, (mut snapshots, mut segments))| {
            snapshots.sort_by_key(|o| o.index);
            // By number: offsets of large WALs have more digits.
            segments.sort_by_key(|o| (o.index, o.offset));
            let times = || snapshots.iter().chain(&segments).map(|o| o.modified_ms);
            let newest_ms = times().max().unwrap_or(0);
            let oldest = format_unix_ms(snapshots.iter().map(|o| o.modified_ms).min().unwrap_or(newest_ms));
            Generation {
                generation,
                oldest,
                newest: format_unix_ms(newest_ms),
                snapshots,
                segments,
                newest_ms,
            }
        })
        .collect();
    generations.sort_by_key(|g| g.newest_ms);
    Ok(generations)
}

/// True if generations are all there is, or were written after everything else.
pub async fn is_newer(store: &Store, catalogue: &Catalogue) -> Result<bool> {
    if !catalogue.has_generations {
        return Ok(false);
    }
    let Some(newest) = catalogue.entries.iter().map(|e| e.modified_ms).max() else { return Ok(true) };
    Ok(list(store).await?.last().is_some_and(|g| g.newest_ms > newest))
}

/// The newest state, or the newest at or before `at`.
pub async fn plan(store: &Store, at: Option<UnixMs>) -> Result<Plan> {
    let limit = at.unwrap_or(i64::MAX);
    let generations = list(store).await?;
    let chosen = generations.iter().rev().find_map(|generation| {
        let snapshot = generation.snapshots.iter().rev().find(|s| s.modified_ms <= limit)?;
        Some((generation, snapshot))
    });
    let Some((generation, snapshot)) = chosen else {
        return Err(Error::Nothing {
            what: "no litestream 0.3 generation has a snapshot that old".into(),
            hint: "`restore list` shows all generations".into(),
        });
    };
    let from = (snapshot.index, 0);
    let segments: Vec<Object> = generation
        .segments
        .iter()
        .filter(|s| (s.index, s.offset) >= from)
        .take_while(|s| s.modified_ms <= limit)
        .cloned()
        .collect();
    // A WAL that is missing is a hole; segments within one are checked while they are read, by their unpacked lengths.
    let mut expected = snapshot.index;
    for segment in &segments {
        if segment.index > expected + 1 {
            return Err(hole(&segment.key, expected + 1));
        }
        expected = segment.index;
    }
    Ok(Plan { generation: generation.generation.clone(), snapshot: snapshot.clone(), segments })
}

/// Restores `plan` to `output`, which gets its name when everything is in place.
pub async fn restore(
    store: &Store,
    plan: &Plan,
    output: &Path,
    integrity: Integrity,
    identities: Option<Arc<seal::Identities>>,
    progress: &Arc<Progress>,
) -> Result<Restored> {
    let target = Target::blank(output)?;
    let mut database = apply::Database::new(target.file(), target.temp())?;
    let snapshot = spool::fetch(store, &plan.snapshot, parent(output), progress).await?;
    let mut opened = spool::unpack(&plan.snapshot.key, snapshot, identities.as_deref())?;
    database = blocking(move || database.begin(&mut opened)).await?;
    let mut at = 0;
    while at < plan.segments.len() {
        let index = plan.segments[at].index;
        let end = at + plan.segments[at..].iter().take_while(|s| s.index == index).count();
        let mut wal = spool::Wal::new(parent(output))?;
        for segment in &plan.segments[at..end] {
            let packed = spool::fetch(store, segment, parent(output), progress).await?;
            let mut opened = spool::unpack(&segment.key, packed, identities.as_deref())?;
            let (offset, key) = (segment.offset, segment.key.clone());
            wal = blocking(move || {
                if wal.len() != offset {
                    return Err(hole(&key, index));
                }
                wal.append(&key, &mut opened)?;
                Ok(wal)
            })
            .await?;
        }
        database = blocking(move || database.apply(wal)).await?;
        at = end;
    }
    let bytes = database.bytes();
    drop(database);
    let target = blocking(move || {
        integrity::check(target.temp(), integrity)?;
        target.finish()
    });
    target.await?;
    Ok(Restored {
        generation: plan.generation.clone(),
        index: plan.segments.last().map_or(plan.snapshot.index, |s| s.index),
        bytes,
        objects: plan.segments.len() + 1,
    })
}

fn hole(key: &str, index: u32) -> Error {
    Error::Object {
        key: key.to_owned(),
        what: format!("WAL {index:08x} has a hole before it"),
        hint: "restore a point before it with --timestamp (`restore list`)".into(),
    }
}
