//! LIST over a directory, in S3's order (bytes of the whole key), with prefix, start-after, delimiter and paging.
//!
//! A directory is visited as `name/`, because `a-b` sorts before `a/b`; subtrees outside the prefix or wholly before
//! the start are not opened, so that a page costs the directories it touches and not the bucket.
//! Only `/` is known as a delimiter.

use std::fs;
use std::io;
use std::path::Path;

/// What to list.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) prefix: String,
    /// Keys up to and including this one are left out.
    pub(super) after: String,
    /// Everything below this common prefix was already listed.
    pub(super) after_prefix: Option<String>,
    pub(super) delimited: bool,
    pub(super) max: usize,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Key(String),
    Prefix(String),
}

impl Entry {
    /// The continuation token that resumes behind this entry.
    pub(super) fn token(&self) -> String {
        match self {
            Entry::Key(key) => format!("k{}", hex::encode(key)),
            Entry::Prefix(prefix) => format!("p{}", hex::encode(prefix)),
        }
    }
}

impl Query {
    /// Moves the start behind the entry a token was made of.
    pub(super) fn resume(&mut self, token: &str) -> Option<()> {
        let (kind, name) = token.split_at_checked(1)?;
        let name = String::from_utf8(hex::decode(name).ok()?).ok()?;
        if kind == "p" {
            self.after_prefix = Some(name.clone());
        }
        self.after = name;
        Some(())
    }
}

/// Up to `max` entries, and whether there are more.
pub(super) fn list(bucket: &Path, query: &Query) -> io::Result<(Vec<Entry>, bool)> {
    let mut found = Vec::new();
    walk(bucket, "", query, &mut found)?;
    let more = found.len() > query.max;
    found.truncate(query.max);
    Ok((found, more))
}

fn walk(dir: &Path, base: &str, query: &Query, found: &mut Vec<Entry>) -> io::Result<()> {
    let mut names = match fs::read_dir(dir) {
        // Deleted between two steps of the walk.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let mut key = format!("{base}{}", entry.file_name().to_str()?);
                if entry.file_type().ok()?.is_dir() {
                    key.push('/');
                }
                Some((key, entry.path()))
            })
            .collect::<Vec<_>>(),
    };
    names.sort();
    for (key, path) in names {
        if found.len() > query.max {
            return Ok(());
        }
        if !key.ends_with('/') {
            if key.starts_with(&query.prefix) && key > query.after {
                found.push(Entry::Key(key));
            }
            continue;
        }
        let relevant = key.starts_with(&query.prefix) || query.prefix.starts_with(&key);
        let passed = key < query.after && !query.after.starts_with(&key);
        if !relevant || passed || query.after_prefix.as_ref().is_some_and(|prefix| key.starts_with(prefix)) {
            continue;
        }
        if query.delimited && key.starts_with(&query.prefix) && key.len() > query.prefix.len() {
            let mut below = Vec::new();
            let first = Query {
                prefix: String::new(),
                delimited: false,
                max: 0,
                after_prefix: None,
                ..query.clone()
            };
            walk(&path, &key, &first, &mut below)?;
            if !below.is_empty() {
                found.push(Entry::Prefix(key));
            }
        } else {
            walk(&path, &key, query, found)?;
        }
    }
    Ok(())
}
