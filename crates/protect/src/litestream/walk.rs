//! Looks at every key of the file once, by the table of [`super::keys`]: notes what becomes of it, refuses what is unknown.

use super::keys::{self, Rule, Table};
use super::node::{Node, Value};
use super::{Fate, Note, Reader, duration};
use crate::Error;
use crate::nearest::nearest;

/// Notes every key.
pub(super) fn walk(reader: &mut Reader, file: &Node) -> Result<(), Error> {
    map(reader, "", file, &[keys::GLOBAL, keys::REPLICA])
}

fn map(reader: &mut Reader, path: &str, node: &Node, tables: &[Table]) -> Result<(), Error> {
    if !matches!(node.value, Value::Map(_) | Value::Nothing) {
        return Err(reader.wrong(node.line, path, "is not a set of keys"));
    }
    for (name, line, value) in node.entries() {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let rule = tables.iter().flat_map(|table| table.iter()).find(|(known, _)| known == name);
        let Some((_, rule)) = rule else {
            let known = tables.iter().flat_map(|table| table.iter()).map(|(known, _)| *known);
            let nearest = nearest(name, known).map(str::to_owned);
            return Err(Error::UnknownKey { place: reader.place(*line, &key), nearest });
        };
        apply(reader, &key, *line, value, rule)?;
    }
    Ok(())
}

fn apply(reader: &mut Reader, key: &str, line: Option<u64>, value: &Node, rule: &Rule) -> Result<(), Error> {
    let (fate, text) = match rule {
        Rule::Block(table) => return map(reader, key, value, &[*table]),
        Rule::List(table) => return list(reader, key, value, &[*table]),
        Rule::Replica => return map(reader, key, value, &[keys::REPLICA_ONLY, keys::REPLICA]),
        Rule::Replicas => return list(reader, key, value, &[keys::REPLICA_ONLY, keys::REPLICA]),
        Rule::Taken(what) => (Fate::Translated, (*what).to_owned()),
        Rule::Dropped(why) => (Fate::Dropped, (*why).to_owned()),
        // Switched off it asks for nothing.
        Rule::Refused(_) if value.text() == Some("false") => (Fate::Dropped, "is off".to_owned()),
        Rule::Refused(why) => (Fate::Refused, (*why).to_owned()),
        Rule::Flag(flag) => (Fate::Flag, format!("{flag} {}", reader.text(key, value)?)),
        Rule::Span(flag) => {
            let span = duration::parse(reader.text(key, value)?)
                .map_err(|reason| reader.wrong(value.line, key, reason))?;
            (Fate::Flag, format!("{flag} {}", duration::show(span)))
        }
    };
    reader.notes.push(Note { key: key.to_owned(), line, fate, text });
    Ok(())
}

fn list(reader: &mut Reader, key: &str, value: &Node, tables: &[Table]) -> Result<(), Error> {
    if !matches!(value.value, Value::List(_) | Value::Nothing) {
        return Err(reader.wrong(value.line, key, "is not a list"));
    }
    for (index, item) in value.items().iter().enumerate() {
        map(reader, &format!("{key}[{index}]"), item, tables)?;
    }
    Ok(())
}
