//! Our YAML, with every key of theirs that is not in it as a comment.

use super::databases::{Found, interval, root, span};
use super::node::Node;
use super::{Fate, Import, Options, Reader, duration};
use crate::Error;
use std::fmt::Write;

/// Writes the description.
pub(super) fn write(
    mut reader: Reader,
    file: &Node,
    found: &[Found],
    options: &Options,
) -> Result<Import, Error> {
    let mut flags = listen(&mut reader, file)?;
    let root = root(found);
    for (index, database) in found.iter().enumerate() {
        if database.pattern && database.dir != root {
            let text = format!(
                "keys of its replicas start at {} here and at {} there: take-over needs root: {}",
                root.display(),
                database.dir.display(),
                database.dir.display()
            );
            reader.renote(&format!("dbs[{index}].dir"), Fate::Refused, text);
        }
    }
    for note in reader.notes.iter().filter(|note| note.fate == Fate::Flag) {
        let name = note.text.split(' ').next().unwrap_or_default();
        if !flags.iter().any(|flag| flag.split(' ').next() == Some(name)) {
            flags.push(note.text.clone());
        }
    }
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# Translated from {}.", reader.source);
    for (fate, title) in [(Fate::Refused, "To be decided"), (Fate::Dropped, "Not applicable")] {
        let notes: Vec<_> = reader.notes.iter().filter(|note| note.fate == fate).collect();
        if !notes.is_empty() {
            let _ = writeln!(out, "# {title}:");
        }
        for note in notes {
            let line = note.line.map(|line| format!(" (line {line})")).unwrap_or_default();
            let _ = writeln!(out, "#   {}{line}: {}", note.key, note.text);
        }
    }
    if !flags.is_empty() {
        let _ = writeln!(out, "# Start with: wal-streamer replicate {}", flags.join(" "));
    }
    if let Some(app) = &options.app {
        let _ = writeln!(out, "app: {}", quoted(app));
    }
    let _ = writeln!(out, "root: {}", quoted(&root.to_string_lossy()));
    let recipients = recipients(&reader, file)?;
    if !recipients.is_empty() {
        let list: Vec<String> = recipients.iter().map(|one| quoted(one)).collect();
        let _ = writeln!(out, "encrypt: {{ recipients: [{}] }}", list.join(", "));
    }
    let block = |name: &str| {
        let node = file.get("snapshot").and_then(|block| block.get(name));
        node.map(|node| (format!("snapshot.{name}"), node))
    };
    if let Some(span) = interval(&mut reader, block("interval"))? {
        let _ = writeln!(out, "snapshot: {}", duration::show(span));
    }
    if let Some(keep) = span(&reader, block("retention"))? {
        let _ = writeln!(out, "keep: {{ all: {} }}", duration::show(keep));
    }
    let _ = writeln!(out, "databases:");
    for database in found {
        let below = database.dir.strip_prefix(&root).unwrap_or(&database.dir);
        let _ = writeln!(out, "  - path: {}", quoted(&below.join(&database.path).to_string_lossy()));
        let _ = writeln!(out, "    url: {}", quoted(&database.url));
        if let Some(span) = database.snapshot {
            let _ = writeln!(out, "    snapshot: {}", duration::show(span));
        }
        if let Some(keep) = database.keep {
            let _ = writeln!(out, "    keep: {{ all: {} }}", duration::show(keep));
        }
    }
    let complete = reader.notes.iter().all(|note| note.fate != Fate::Refused);
    Ok(Import { yaml: out, flags, notes: reader.notes, complete })
}

/// `:9090` listens everywhere there; it does here too, because somebody wrote it.
fn listen(reader: &mut Reader, file: &Node) -> Result<Vec<String>, Error> {
    let Some(node) = file.get("addr") else { return Ok(Vec::new()) };
    let text = reader.text("addr", node)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let host = if text.starts_with(':') { "0.0.0.0" } else { "" };
    let flag = format!("--listen {host}{text}");
    reader.renote("addr", Fate::Flag, flag.clone());
    Ok(vec![flag])
}

/// The recipients of all replicas; they must agree, because a description has one set.
fn recipients(reader: &Reader, file: &Node) -> Result<Vec<String>, Error> {
    let mut sets: Vec<(String, &Node)> = Vec::new();
    if let Some(list) = file.get("age").and_then(|age| age.get("recipients")) {
        sets.push(("age.recipients".into(), list));
    }
    for (index, entry) in file.get("dbs").map_or(&[][..], Node::items).iter().enumerate() {
        let one = entry.get("replica").map(|node| (format!("dbs[{index}].replica"), node));
        let first = entry.get("replicas").and_then(|list| list.items().first());
        let first = first.map(|node| (format!("dbs[{index}].replicas[0]"), node));
        if let Some((key, replica)) = one.or(first)
            && let Some(list) = replica.get("age").and_then(|age| age.get("recipients"))
        {
            sets.push((format!("{key}.age.recipients"), list));
        }
    }
    let mut all: Option<Vec<String>> = None;
    for (key, list) in sets {
        let texts = list.items().iter().map(|node| reader.text(&key, node).map(str::to_owned));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        match &all {
            Some(before) if *before != texts => {
                let reason = "differs from the recipients before; a description has one set";
                return Err(reader.wrong(list.line, &key, reason));
            }
            _ => all = Some(texts),
        }
    }
    Ok(all.unwrap_or_default())
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
