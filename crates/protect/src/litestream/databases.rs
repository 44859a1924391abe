//! The entries of `dbs`: where each database is, where it goes, how it is kept.

use super::node::Node;
use super::{Fate, Options, Reader, duration, replica};
use crate::Error;
use crate::description::is_pattern;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A database, or a pattern of databases.
pub(super) struct Found {
    /// Directory the path starts at; of a pattern, what the replica's keys are relative to.
    pub(super) dir: PathBuf,
    /// Below `dir`.
    pub(super) path: String,
    pub(super) pattern: bool,
    pub(super) url: String,
    pub(super) snapshot: Option<Duration>,
    pub(super) keep: Option<Duration>,
}

/// Reads `dbs`; what cannot be had is noted and left out.
pub(super) fn read(reader: &mut Reader, file: &Node, options: &Options) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for (index, entry) in file.get("dbs").map_or(&[][..], Node::items).iter().enumerate() {
        let key = format!("dbs[{index}]");
        let Some((dir, path, pattern)) = place(reader, &key, entry, options)? else { continue };
        let (key_of, node) = match (entry.get("replica"), entry.get("replicas")) {
            (Some(one), None) => (format!("{key}.replica"), one),
            (None, Some(list)) if !list.items().is_empty() => {
                for other in 1..list.items().len() {
                    let prefix = format!("{key}.replicas[{other}].");
                    for note in reader.notes.iter_mut().filter(|note| note.key.starts_with(&prefix)) {
                        note.fate = Fate::Refused;
                        note.text = "a database has one replica; let the store replicate its bucket".into();
                    }
                }
                (format!("{key}.replicas[0]"), &list.items()[0])
            }
            (Some(_), Some(_)) => return Err(reader.wrong(entry.line, &key, "has replica and replicas")),
            _ => return Err(reader.wrong(entry.line, &key, "has no replica")),
        };
        let Some(url) = replica::url(reader, &key_of, node, file, &options.base)? else { continue };
        let block = entry.get("snapshot");
        let snapshot = block.and_then(|b| b.get("interval")).map(|n| (format!("{key}.snapshot.interval"), n));
        let snapshot =
            snapshot.or(node.get("snapshot-interval").map(|n| (format!("{key_of}.snapshot-interval"), n)));
        let keep = block.and_then(|b| b.get("retention")).map(|n| (format!("{key}.snapshot.retention"), n));
        let keep = keep.or(node.get("retention").map(|n| (format!("{key_of}.retention"), n)));
        let (snapshot, keep) = (interval(reader, snapshot)?, span(reader, keep)?);
        found.push(Found { dir, path, pattern, url, snapshot, keep });
    }
    Ok(found)
}

/// The directory and the path below it.
fn place(
    reader: &mut Reader,
    key: &str,
    entry: &Node,
    options: &Options,
) -> Result<Option<(PathBuf, String, bool)>, Error> {
    let absolute = |text: &str| match (text.strip_prefix("~/"), &options.home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => options.base.join(text),
    };
    match (entry.get("path"), entry.get("dir")) {
        (Some(_), Some(_)) => Err(reader.wrong(entry.line, key, "has path and dir")),
        (Some(node), None) => {
            let key = format!("{key}.path");
            let text = reader.text(&key, node)?;
            let text = ["sqlite3://", "sqlite://"].iter().find_map(|s| text.strip_prefix(s)).unwrap_or(text);
            let path = absolute(text);
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            let (Some(name), Some(dir)) = (name, path.parent()) else {
                return Err(reader.wrong(node.line, &key, format!("{text:?} names no file")));
            };
            if path.to_str().is_none_or(is_pattern) {
                reader.renote(
                    &key,
                    Fate::Refused,
                    "has characters that are a pattern here (* ? [ {); rename it",
                );
                return Ok(None);
            }
            Ok(Some((dir.to_owned(), name, false)))
        }
        (None, Some(node)) => {
            let dir = absolute(reader.text(&format!("{key}.dir"), node)?);
            let pattern = match entry.get("pattern") {
                Some(node) => reader.text(&format!("{key}.pattern"), node)?.to_owned(),
                None => return Err(reader.wrong(entry.line, key, "has dir and no pattern")),
            };
            let recursive = match entry.get("recursive") {
                Some(node) => reader.bool(&format!("{key}.recursive"), node)?,
                None => false,
            };
            Ok(Some((dir, if recursive { format!("**/{pattern}") } else { pattern }, true)))
        }
        (None, None) => Err(reader.wrong(entry.line, key, "has neither path nor dir")),
    }
}

/// A duration in whole seconds.
pub(super) fn span(reader: &Reader, found: Option<(String, &Node)>) -> Result<Option<Duration>, Error> {
    let Some((key, node)) = found else { return Ok(None) };
    let span = duration::parse(reader.text(&key, node)?).map_err(|why| reader.wrong(node.line, &key, why))?;
    Ok(Some(Duration::from_secs(span.as_secs())).filter(|span| !span.is_zero()))
}

/// As [`span`], and at least a minute.
pub(super) fn interval(
    reader: &mut Reader,
    found: Option<(String, &Node)>,
) -> Result<Option<Duration>, Error> {
    let shortest = Duration::from_secs(60);
    let key = found.as_ref().map(|(key, _)| key.clone()).unwrap_or_default();
    let Some(span) = span(reader, found)? else { return Ok(None) };
    if span < shortest {
        reader.renote(&key, Fate::Translated, "raised to a minute; commits are shipped at once anyway");
    }
    Ok(Some(span.max(shortest)))
}

/// The deepest directory above all of them.
pub(super) fn root(found: &[Found]) -> PathBuf {
    let mut root = found.first().map_or(PathBuf::from("/"), |first| first.dir.clone());
    while !found.iter().all(|database| database.dir.starts_with(&root)) {
        root = root.parent().unwrap_or(Path::new("/")).to_owned();
    }
    root
}
