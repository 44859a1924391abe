//! Settings as flat key and text: pod annotations and environment variables share these keys and their grammar.
//!
//! Lists are separated by commas (patterns and recipients may also stand on lines of their own). `sqlite` names a profile
//! behind each path: `a.db=critical,b.db`. The replica is built from `bucket` and its companions; they are one key, so a
//! companion without a bucket is an error.

use crate::nearest::nearest;
use crate::{DatabaseEntry, Error, FilesEntry, Keep, Layer, Located, Place};
use crate::{duration, restore};
use std::collections::BTreeMap;
use url::Url;

/// Every key, as annotations spell it.
pub(crate) const KEYS: [&str; 21] = [
    "app",
    "cluster",
    "bucket",
    "prefix",
    "endpoint",
    "region",
    "ca",
    "allow-http",
    "store-profile",
    "sqlite",
    "files",
    "files-exclude",
    "profile",
    "snapshot",
    "keep",
    "debounce",
    "restore",
    "restore-at",
    "restore-timeout",
    "integrity",
    "recipients",
];

/// The keys that together make the replica's URL, and the URL's parameter each becomes.
const PARAMETERS: [(&str, &str); 5] = [
    ("endpoint", "endpoint"),
    ("region", "region"),
    ("ca", "ca"),
    ("allow-http", "allow-http"),
    ("store-profile", "profile"),
];

/// Reads settings whose keys are known; `values` maps each key to its text and place.
pub(crate) fn layer(values: &BTreeMap<&str, Located<String>>) -> Result<Layer, Error> {
    let text = |key: &str| values.get(key).cloned();
    let mut layer = Layer {
        app: text("app"),
        cluster: text("cluster"),
        replica: replica(values)?,
        recipients: text("recipients").map(|value| Located::new(list(&value.value), value.place)),
        profile: read(values, "profile", str::parse)?,
        snapshot: read(values, "snapshot", duration::parse)?,
        keep: read(values, "keep", Keep::parse)?,
        files_exclude: text("files-exclude").map(|value| Located::new(list(&value.value), value.place)),
        debounce: read(values, "debounce", duration::parse)?,
        restore: read(values, "restore", str::parse)?,
        restore_at: read(values, "restore-at", restore::parse_at)?,
        restore_timeout: read(values, "restore-timeout", duration::parse)?,
        integrity: read(values, "integrity", str::parse)?,
        ..Layer::default()
    };
    if let Some(value) = text("sqlite") {
        layer.databases = Some(databases(&value)?);
    }
    if let Some(value) = text("files") {
        let entries = list(&value.value).into_iter().map(|path| {
            refuse_volumes(&path, &value.place)?;
            Ok(FilesEntry::at(Located::new(path, value.place.clone())))
        });
        layer.files = Some(entries.collect::<Result<_, Error>>()?);
    }
    Ok(layer)
}

/// The nearest key to one that does not exist.
pub(crate) fn nearest_key(key: &str) -> Option<&'static str> {
    nearest(key, KEYS)
}

fn read<T>(
    values: &BTreeMap<&str, Located<String>>,
    key: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Located<T>>, Error> {
    let Some(value) = values.get(key) else { return Ok(None) };
    match read(value.value.trim()) {
        Ok(read) => Ok(Some(Located::new(read, value.place.clone()))),
        Err(reason) => Err(Error::Value { place: value.place.clone(), reason }),
    }
}

fn list(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn databases(value: &Located<String>) -> Result<Vec<DatabaseEntry>, Error> {
    let entries = list(&value.value).into_iter().map(|item| {
        refuse_volumes(&item, &value.place)?;
        // A path may hold `=` itself, so only the last one counts.
        let Some((path, profile)) = item.rsplit_once('=') else {
            return Ok(DatabaseEntry::at(Located::new(item, value.place.clone())));
        };
        let profile =
            profile.trim().parse().map_err(|reason| Error::Value { place: value.place.clone(), reason })?;
        let mut entry = DatabaseEntry::at(Located::new(path.trim().to_owned(), value.place.clone()));
        entry.profile = Some(Located::new(profile, value.place.clone()));
        Ok(entry)
    });
    entries.collect()
}

fn refuse_volumes(path: &str, place: &Place) -> Result<(), Error> {
    if path.starts_with('@') {
        let reason = format!("{path:?}: further volumes (@name/) need the YAML file with absolute paths");
        return Err(Error::Value { place: place.clone(), reason });
    }
    Ok(())
}

/// `s3://bucket/prefix?endpoint=…`; the prefix defaults to the application's name of the same source.
fn replica(values: &BTreeMap<&str, Located<String>>) -> Result<Option<Located<String>>, Error> {
    let Some(bucket) = values.get("bucket") else {
        let companion =
            ["prefix"].into_iter().chain(PARAMETERS.map(|(key, _)| key)).find_map(|key| values.get(key));
        return match companion {
            None => Ok(None),
            Some(value) => Err(Error::Contradiction {
                place: value.place.clone(),
                reason: "stands without a bucket; bucket, prefix and endpoint replace a replica together"
                    .into(),
            }),
        };
    };
    let refused = |value: &Located<String>, reason: &str| Error::Value {
        place: value.place.clone(),
        reason: format!("{:?} {reason}", value.value),
    };
    let name = bucket.value.trim();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
        return Err(refused(bucket, "is not the name of a bucket"));
    }
    let mut out = format!("s3://{name}");
    if let Some(prefix) = values.get("prefix").or_else(|| values.get("app")) {
        let trimmed = prefix.value.trim().trim_matches('/');
        if trimmed.contains(['?', '#', ' ']) {
            return Err(refused(prefix, "is not a prefix (no blanks, ? or #)"));
        }
        if !trimmed.is_empty() {
            out = format!("{out}/{trimmed}");
        }
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, parameter) in PARAMETERS {
        let Some(value) = values.get(key) else { continue };
        match key {
            "allow-http" if !["true", "false"].contains(&value.value.trim()) => {
                return Err(refused(value, "is neither true nor false"));
            }
            "endpoint" if Url::parse(value.value.trim()).is_err() => {
                return Err(refused(value, "is not a URL (write https://host:port)"));
            }
            _ => query.append_pair(parameter, value.value.trim()),
        };
    }
    let query = query.finish();
    if !query.is_empty() {
        out = format!("{out}?{query}");
    }
    Ok(Some(Located::new(out, bucket.place.clone())))
}
