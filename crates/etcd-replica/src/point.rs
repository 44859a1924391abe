//! One line per snapshot, as the lists of `etcd-shipper` and `restore` show it.

use crate::catalogue::{Catalogue, Item};
use crate::proof::Verdict;
use serde::Serialize;

/// What is known of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Read back and compared; a restore takes it.
    Proven,
    /// Complete, and nobody has read it back yet.
    Unproven,
    /// Proven wrong, or its manifest cannot be read.
    Failed,
    /// Its manifest is there and the snapshot is not.
    Missing,
    /// What an unfinished run left: no manifest, no backup.
    Partial,
}

/// One line; the field names are an interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Name of the snapshot: the common part of its keys.
    pub name: String,
    /// When it was taken, RFC 3339.
    pub time: String,
    /// See [`State`].
    pub state: State,
    /// Level of proof, 0 to 5, see [`crate::proof`].
    pub level: u8,
    /// etcd revision.
    pub revision: i64,
    /// Keys that exist.
    pub keys: u64,
    /// Bytes of the bbolt file.
    pub body_bytes: u64,
    /// Bytes in the store.
    pub stored_bytes: u64,
    /// Compared with the live members.
    pub hashkv: Option<Verdict>,
    /// The hash that etcd's tools print.
    pub status_hash: String,
    /// Sealed for somebody.
    pub sealed: bool,
    /// [`State::Proven`].
    pub proven: bool,
    /// A person pinned it.
    pub pinned: bool,
}

impl Item {
    /// What is known of it.
    pub fn state(&self) -> State {
        match &self.manifest {
            _ if self.is_verified() => State::Proven,
            _ if self.is_failed() => State::Failed,
            None => State::Partial,
            Some(_) if self.payload.is_none() => State::Missing,
            Some(_) => State::Unproven,
        }
    }
}

/// All snapshots of a cluster, oldest first.
pub fn points(catalogue: &Catalogue) -> Vec<Point> {
    catalogue.items.iter().map(point).collect()
}

fn point(item: &Item) -> Point {
    let manifest = item.manifest.as_ref();
    let state = item.state();
    Point {
        name: item.name.to_string(),
        time: clock::format_unix_ms(item.name.taken * 1_000),
        state,
        level: item.level(),
        revision: item.name.revision,
        keys: manifest.map_or(0, |m| m.keys),
        body_bytes: manifest.map_or(0, |m| m.body_bytes),
        stored_bytes: item.payload.as_ref().map_or(0, |payload| payload.size),
        hashkv: manifest.map(|m| m.hashkv.verdict),
        status_hash: manifest.map_or_else(String::new, |m| m.status_hash.clone()),
        sealed: manifest.is_some_and(|m| !m.recipients.is_empty()),
        proven: state == State::Proven,
        pinned: item.pinned,
    }
}

/// The points as a table with a header.
pub fn table(points: &[Point]) -> String {
    let mut text = format!(
        "{:<20}  {:<8}  {:>5}  {:>12}  {:>8}  {:>12}  {:<8}  {:<6}  {:<6}  NAME\n",
        "TAKEN", "STATE", "LEVEL", "REVISION", "KEYS", "STORED", "HASHKV", "SEALED", "PROVEN"
    );
    let yes = |is: bool| if is { "yes" } else { "" };
    for p in points {
        text += &format!(
            "{:<20}  {:<8}  {:>5}  {:>12}  {:>8}  {:>12}  {:<8}  {:<6}  {:<6}  {}{}\n",
            p.time,
            word(&p.state),
            p.level,
            p.revision,
            p.keys,
            p.stored_bytes,
            p.hashkv.as_ref().map_or_else(String::new, word),
            yes(p.sealed),
            yes(p.proven),
            p.name,
            if p.pinned { " (pinned)" } else { "" }
        );
    }
    text
}

/// The word that JSON has for it too.
fn word(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}
