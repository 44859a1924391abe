//! The YAML file: the types behind it and its JSON Schema, and how it becomes a [`Layer`].
//!
//! Every value carries its line. A key without a value (`root:`) is an error, not an absent key: somebody meant to write
//! something. YAML's own traps (duplicate keys, several documents, expanding aliases) are refused by the parser.

use crate::nearest::nearest;
use crate::{DatabaseEntry, Error, FilesEntry, Integrity, Keep, Layer, Located, Place, Profile, RestoreMode};
use crate::{duration, restore};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;
use std::sync::Arc;

/// What a pod protects.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "protect.yaml")]
pub(crate) struct File {
    /// Name of the application; part of prefix and claim.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    app: Option<Spanned<String>>,
    /// Name of the cluster; part of prefix and claim.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    cluster: Option<Spanned<String>>,
    /// URL below which everything is replicated; may hold $(CLUSTER), $(POD_NAME) and $(POD_NAMESPACE).
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    replica: Option<Spanned<String>>,
    /// Directory that paths are relative to.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    root: Option<Spanned<String>>,
    /// Whom replicas are sealed for.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "EncryptBlock")]
    encrypt: Option<Spanned<EncryptBlock>>,
    /// Profile of databases that name none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Profile")]
    profile: Option<Spanned<String>>,
    /// How often a proven restore point is due, e.g. 8h; overrides profiles.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    snapshot: Option<Spanned<String>>,
    /// What retention keeps; overrides profiles.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "KeepBlock")]
    keep: Option<Spanned<KeepBlock>>,
    /// How long a tree must be quiet before it is shipped, e.g. 10s.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    debounce: Option<Spanned<String>>,
    /// The databases.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Vec<DatabaseBlock>")]
    databases: Option<Vec<DatabaseBlock>>,
    /// The directory trees.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Vec<FilesBlock>")]
    files: Option<Vec<FilesBlock>>,
    /// What the start of a pod restores.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "RestoreBlock")]
    restore: Option<RestoreBlock>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EncryptBlock {
    /// Age recipients (age1…, ssh-ed25519 …, ssh-rsa …).
    #[schemars(length(min = 1))]
    recipients: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeepBlock {
    /// Keep every restore point this young, e.g. 7d.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    all: Option<String>,
    /// Then one per hour, this many.
    #[serde(default)]
    hourly: u32,
    /// Then one per day, this many.
    #[serde(default)]
    daily: u32,
    /// Then one per week, this many.
    #[serde(default)]
    weekly: u32,
    /// Then one per month, this many.
    #[serde(default)]
    monthly: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DatabaseBlock {
    /// Relative to the root; a file, a directory or a glob.
    #[schemars(with = "String")]
    path: Spanned<String>,
    /// Its own replica instead of one below the common replica.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    url: Option<Spanned<String>>,
    /// Its profile.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Profile")]
    profile: Option<Spanned<String>>,
    /// How often a proven restore point is due, e.g. 8h.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    snapshot: Option<Spanned<String>>,
    /// What retention keeps.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "KeepBlock")]
    keep: Option<Spanned<KeepBlock>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilesBlock {
    /// Relative to the root; . is the root itself.
    #[schemars(with = "String")]
    path: Spanned<String>,
    /// Its own replica instead of one below the common replica.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    url: Option<Spanned<String>>,
    /// Gitignore patterns of what is left out.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Vec<String>")]
    exclude: Option<Vec<String>>,
    /// How often a proven restore point is due, e.g. 8h.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    snapshot: Option<Spanned<String>>,
    /// What retention keeps.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "KeepBlock")]
    keep: Option<Spanned<KeepBlock>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RestoreBlock {
    /// Whether the start restores.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "RestoreMode")]
    mode: Option<Spanned<String>>,
    /// To which point in time, RFC 3339 in UTC.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    at: Option<Spanned<String>>,
    /// How long it may take, e.g. 30m; 0 is without end.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String")]
    timeout: Option<Spanned<String>>,
    /// How the result is checked.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Integrity")]
    integrity: Option<Spanned<String>>,
}

/// An `Option` only of absence: `key:` without a value is refused. The parser would read it as an empty list, and a list
/// whose entries were commented out would protect nothing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Option::<T>::deserialize(deserializer)?;
    value.map(Some).ok_or_else(|| de::Error::custom("a key without a value; remove it or give it one"))
}

/// Reads the file's text; `source` is its name in errors.
pub(crate) fn parse(text: &str, source: &str) -> Result<Layer, Error> {
    let source: Arc<str> = source.into();
    if text.trim().is_empty() {
        return Err(Error::Syntax {
            place: Place { source, line: None, key: String::new() },
            reason: "is empty".into(),
        });
    }
    let file: File = serde_saphyr::from_str(text).map_err(|error| refusal(&error, &source))?;
    Reader { source }.layer(file)
}

/// The parser's error as ours: one line, with the nearest key.
fn refusal(error: &serde_saphyr::Error, source: &Arc<str>) -> Error {
    let error = error.without_snippet();
    let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
    let place = |key: &str| Place { source: Arc::clone(source), line, key: key.to_owned() };
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => Error::UnknownKey {
            place: place(field),
            nearest: nearest(field, expected.iter().copied()).map(str::to_owned),
        },
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => Error::Contradiction {
            place: place(key.as_deref().unwrap_or("")),
            reason: "the same key is written twice".into(),
        },
        other => {
            let text = other.to_string();
            // The place says the line already.
            let reason = text.split(" at line ").next().unwrap_or(&text).replace('\n', " ");
            Error::Syntax { place: place(""), reason }
        }
    }
}

struct Reader {
    source: Arc<str>,
}

impl Reader {
    fn layer(&self, file: File) -> Result<Layer, Error> {
        let mut layer = Layer {
            app: file.app.map(|value| self.text("app", value)),
            cluster: file.cluster.map(|value| self.text("cluster", value)),
            replica: file.replica.map(|value| self.text("replica", value)),
            root: file.root.map(|value| self.text("root", value)),
            recipients: file.encrypt.map(|block| {
                Located::new(block.value.recipients.clone(), self.place("encrypt.recipients", &block))
            }),
            profile: self.option("profile", file.profile, str::parse)?,
            snapshot: self.option("snapshot", file.snapshot, duration::parse)?,
            keep: self.keep("keep", file.keep)?,
            debounce: self.option("debounce", file.debounce, duration::parse)?,
            ..Layer::default()
        };
        if let Some(block) = file.restore {
            layer.restore = self.option("restore.mode", block.mode, str::parse)?;
            layer.restore_at = self.option("restore.at", block.at, restore::parse_at)?;
            layer.restore_timeout = self.option("restore.timeout", block.timeout, duration::parse)?;
            layer.integrity = self.option("restore.integrity", block.integrity, str::parse)?;
        }
        if let Some(blocks) = file.databases {
            let read = blocks.into_iter().enumerate().map(|(index, block)| {
                let key = |name: &str| format!("databases[{index}].{name}");
                Ok(DatabaseEntry {
                    path: self.text(&key("path"), block.path),
                    url: block.url.map(|url| self.text(&key("url"), url)),
                    profile: self.option(&key("profile"), block.profile, str::parse)?,
                    snapshot: self.option(&key("snapshot"), block.snapshot, duration::parse)?,
                    keep: self.keep(&key("keep"), block.keep)?,
                })
            });
            layer.databases = Some(read.collect::<Result<_, Error>>()?);
        }
        if let Some(blocks) = file.files {
            let read = blocks.into_iter().enumerate().map(|(index, block)| {
                let key = |name: &str| format!("files[{index}].{name}");
                Ok(FilesEntry {
                    path: self.text(&key("path"), block.path),
                    url: block.url.map(|url| self.text(&key("url"), url)),
                    exclude: block.exclude,
                    snapshot: self.option(&key("snapshot"), block.snapshot, duration::parse)?,
                    keep: self.keep(&key("keep"), block.keep)?,
                })
            });
            layer.files = Some(read.collect::<Result<_, Error>>()?);
        }
        Ok(layer)
    }

    fn place<T>(&self, key: &str, value: &Spanned<T>) -> Place {
        let line = Some(value.referenced.line()).filter(|line| *line > 0);
        Place { source: Arc::clone(&self.source), line, key: key.to_owned() }
    }

    fn text(&self, key: &str, value: Spanned<String>) -> Located<String> {
        let place = self.place(key, &value);
        Located::new(value.value, place)
    }

    fn option<T>(
        &self,
        key: &str,
        value: Option<Spanned<String>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Located<T>>, Error> {
        let Some(value) = value else { return Ok(None) };
        let place = self.place(key, &value);
        match read(&value.value) {
            Ok(read) => Ok(Some(Located::new(read, place))),
            Err(reason) => Err(Error::Value { place, reason }),
        }
    }

    fn keep(&self, key: &str, block: Option<Spanned<KeepBlock>>) -> Result<Option<Located<Keep>>, Error> {
        let Some(block) = block else { return Ok(None) };
        let place = self.place(key, &block);
        let KeepBlock { all, hourly, daily, weekly, monthly } = block.value;
        let read = duration::parse(all.as_deref().unwrap_or("0"))
            .and_then(|all| Keep { all, hourly, daily, weekly, monthly }.checked());
        match read {
            Ok(keep) => Ok(Some(Located::new(keep, place))),
            Err(reason) => Err(Error::Value { place, reason }),
        }
    }
}

#[cfg(test)]
mod tests;
