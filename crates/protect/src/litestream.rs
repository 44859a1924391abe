//! From Litestream's configuration file (0.5, and 0.3 where it differs) to ours.
//!
//! Every key of theirs has a line in [`keys`]: it is translated, becomes a flag, is not applicable for a stated reason, or
//! cannot be had here at all. An unknown key is an error with the nearest name; nothing is silently dropped. Replicas keep their
//! URL, so that what lies there is taken over. Values of secrets are never repeated.
//!
//! What it does not do: look at databases or stores, or decide what only a person can ([`Fate::Refused`]).

mod databases;
mod duration;
mod environment;
mod keys;
mod node;
mod replica;
mod walk;
mod write;

use crate::{Error, Place};
use node::Node;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// What became of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It stands in the description.
    Translated,
    /// It is said on the command line of `wal-streamer replicate`.
    Flag,
    /// It has no counterpart, and none is needed.
    Dropped,
    /// It asks for something that is not there; a person has to decide.
    Refused,
}

/// One key of theirs and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where it stands, e.g. `dbs[0].replica.sync-interval`.
    pub key: String,
    /// Its line.
    pub line: Option<u64>,
    /// What became of it.
    pub fate: Fate,
    /// The flag, or the reason.
    pub text: String,
}

/// A translated configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Our YAML, with every note as a comment.
    pub yaml: String,
    /// Flags of `wal-streamer replicate` that go with it.
    pub flags: Vec<String>,
    /// What became of every key, in the order of the file.
    pub notes: Vec<Note>,
    /// False if something was refused: the rest is translated all the same.
    pub complete: bool,
}

/// What the file does not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the application, if it is to be part of the claim.
    pub app: Option<String>,
    /// Directory that relative paths start at.
    pub base: PathBuf,
    /// Home directory, for `~/`.
    pub home: Option<PathBuf>,
    /// Looks up `$VAR` and `${VAR}`; `None` leaves them as they stand.
    pub variables: Option<fn(&str) -> Option<String>>,
}

/// Translates the file's text; `source` is its name in messages.
pub fn import(text: &str, source: &str, options: &Options) -> Result<Import, Error> {
    let source: Arc<str> = source.into();
    let expanded = environment::expand(text, options.variables);
    let file = node::parse(&expanded.text, &source)?;
    let mut reader = Reader { source, unset: expanded.unset, notes: Vec::new() };
    walk::walk(&mut reader, &file)?;
    let found = databases::read(&mut reader, &file, options)?;
    if found.is_empty() {
        return Err(reader.wrong(file.line, "dbs", "no database of this file can be translated"));
    }
    let import = write::write(reader, &file, &found, options)?;
    // What we print must be what we read.
    crate::yaml::parse(&import.yaml, "translation")?;
    Ok(import)
}

/// The file's name, and what was noted so far.
struct Reader {
    source: Arc<str>,
    /// Variables that are not set here.
    unset: Vec<String>,
    notes: Vec<Note>,
}

impl Reader {
    fn place(&self, line: Option<u64>, key: &str) -> Place {
        Place { source: Arc::clone(&self.source), line, key: key.to_owned() }
    }

    fn wrong(&self, line: Option<u64>, key: &str, reason: impl Into<String>) -> Error {
        Error::Value { place: self.place(line, key), reason: reason.into() }
    }

    /// The text of a value that is used.
    fn text<'a>(&self, key: &str, node: &'a Node) -> Result<&'a str, Error> {
        let text = node.text().ok_or_else(|| self.wrong(node.line, key, "is not a single value"))?;
        match self.unset.iter().find(|name| environment::mentions(text, name)) {
            Some(name) => {
                let reason = format!("the variable {name} is not set here; set it for the translation");
                Err(self.wrong(node.line, key, reason))
            }
            None => Ok(text),
        }
    }

    fn bool(&self, key: &str, node: &Node) -> Result<bool, Error> {
        match self.text(key, node)? {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(self.wrong(node.line, key, format!("{other:?} is neither true nor false"))),
        }
    }

    /// Changes the note that [`walk`] wrote for a key.
    fn renote(&mut self, key: &str, fate: Fate, text: impl Into<String>) {
        if let Some(note) = self.notes.iter_mut().find(|note| note.key == key) {
            (note.fate, note.text) = (fate, text.into());
        }
    }
}

#[cfg(test)]
mod tests;
