//! Kubernetes manifests as JSON values.

use anyhow::{Context, Result};
use serde_json::Value;

/// Every document of a file; empty ones are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for part in split(text) {
        let value: Value = serde_saphyr::from_str(&part)
            .with_context(|| format!("not YAML: {}", part.lines().take(4).collect::<Vec<_>>().join(" / ")))?;
        if !value.is_null() {
            found.push(value);
        }
    }
    Ok(found)
}

/// Separators stand at the beginning of a line; block scalars are indented, so they cannot hold one.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let says_something =
        |part: &String| part.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
    parts.into_iter().filter(says_something).collect()
}

/// The value below `path`, or null.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| &value[key])
}

/// A text below `path`, or an empty one.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The items below `path`, none if there is no list.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_types_and_comments_are_nothing() {
        let text = "# nothing\n---\na: 1\nb: \"1\"\nc: 64Mi\nd: true\ne: null\nf: 0.5\ng: [x, 2]\n---\n";
        let found = documents(text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0],
            serde_json::json!({"a":1,"b":"1","c":"64Mi","d":true,"e":null,"f":0.5,"g":["x",2]})
        );
    }
}
