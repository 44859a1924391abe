//! Pod annotations as the downward API writes them: lines of `key="value"`, the value quoted as Go's `%q` does.
//!
//! Source of the form: kubernetes/kubernetes pkg/fieldpath `FormatMap`. Only keys of our domain are ours; an unknown one
//! among them is an error (an ignored `restore-timeout` has cost somebody a night), keys of other domains are not.

use crate::flat;
use crate::{Error, Layer, Located, Place};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The domain of our annotations unless another one is configured.
pub const DEFAULT_DOMAIN: &str = "highwater.dev";

/// Annotations of our domain that others read: the label and selectors of the packaging.
const FOREIGN: [&str; 1] = ["enabled"];

/// Reads the file's text; `source` is its name in errors.
pub(crate) fn parse(text: &str, source: &str, domain: &str) -> Result<Layer, Error> {
    let source: Arc<str> = source.into();
    let mut values: BTreeMap<&str, Located<String>> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let number = Some(index as u64 + 1);
        let Some((key, quoted)) = line.split_once('=') else {
            if line.trim().is_empty() {
                continue;
            }
            let place = Place { source, line: number, key: String::new() };
            return Err(Error::Syntax {
                place,
                reason: "is not key=\"value\" as the downward API writes it".into(),
            });
        };
        let Some(name) = key.strip_prefix(domain).and_then(|rest| rest.strip_prefix('/')) else { continue };
        let place = Place { source: Arc::clone(&source), line: number, key: key.to_owned() };
        let Some(known) = flat::KEYS.into_iter().find(|known| *known == name) else {
            if FOREIGN.contains(&name) {
                continue;
            }
            let nearest = flat::nearest_key(name).map(|key| format!("{domain}/{key}"));
            return Err(Error::UnknownKey { place, nearest });
        };
        let value = unquote(quoted).ok_or_else(|| Error::Syntax {
            place: place.clone(),
            reason: "its value is not a Go string".into(),
        })?;
        if values.contains_key(known) {
            return Err(Error::Contradiction { place, reason: "the same key is written twice".into() });
        }
        values.insert(known, Located::new(value, place));
    }
    flat::layer(&values)
}

/// Undoes Go's `strconv.Quote`; `None` if it is not one, or not UTF-8.
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character == '"' {
            return None;
        }
        if character != '\\' {
            bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        let digits = match characters.next()? {
            'a' => (0, 7),
            'b' => (0, 8),
            'f' => (0, 12),
            'n' => (0, 10),
            'r' => (0, 13),
            't' => (0, 9),
            'v' => (0, 11),
            '\\' => (0, b'\\'),
            '"' => (0, b'"'),
            'x' => (2, 0),
            'u' => (4, 0),
            'U' => (8, 0),
            _ => return None,
        };
        match digits {
            (0, byte) => bytes.push(byte),
            (count, _) => {
                let hex: String = characters.by_ref().take(count).collect();
                if hex.len() != count || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return None;
                }
                let number = u32::from_str_radix(&hex, 16).ok()?;
                // \x is a byte of a text that was not UTF-8; \u and \U are characters.
                match count {
                    2 => bytes.push(number as u8),
                    _ => bytes.extend(char::from_u32(number)?.encode_utf8(&mut [0; 4]).bytes()),
                }
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_strings_are_undone() {
        for (quoted, text) in [
            (r#""plain""#, Some("plain")),
            (r#""a\"b\\c\n\t""#, Some("a\"b\\c\n\t")),
            (r#""\u00e9\U0001f600\xc3\xa9""#, Some("é😀é")),
            (r#""ü""#, Some("ü")),
            (r#""\xff""#, None),
            (r#""\q""#, None),
            (r#""\u+123""#, None),
            (r#""open"#, None),
            (r#""a"b""#, None),
            ("", None),
            ("\"", None),
        ] {
            assert_eq!(unquote(quoted).as_deref(), text, "{quoted}");
        }
    }

    #[test]
    fn reads_our_domain_only() {
        let text = "kubernetes.io/config.seen=\"x\"\nhighwater.dev/app=\"vault\"\nhighwater.dev/bucket=\"b\"\n\
            highwater.dev/endpoint=\"http://minio:9000\"\nhighwater.dev/allow-http=\"true\"\n\
            highwater.dev/sqlite=\"db.sqlite3=critical,cache.db\"\nhighwater.dev/files-exclude=\"*.log,cache/\"\n";
        let layer = parse(text, "annotations", DEFAULT_DOMAIN).unwrap();
        assert_eq!(
            layer.replica.unwrap().value,
            "s3://b/vault?endpoint=http%3A%2F%2Fminio%3A9000&allow-http=true"
        );
        let databases = layer.databases.unwrap();
        assert_eq!(databases[0].path.value, "db.sqlite3");
        assert_eq!(databases[0].profile.as_ref().unwrap().value, crate::Profile::Critical);
        assert_eq!(databases[1].path.place.to_string(), "annotations:6: highwater.dev/sqlite");
        assert_eq!(layer.files_exclude.unwrap().value, ["*.log", "cache/"]);
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        for (text, message) in [
            (
                "highwater.dev/restore-timout=\"1h\"",
                "annotations:1: highwater.dev/restore-timout is not a known key (did you mean highwater.dev/restore-timeout?)",
            ),
            (
                "\nhighwater.dev/profile=\"criticl\"",
                "annotations:2: highwater.dev/profile: \"criticl\" is not a profile (one of critical, standard, relaxed, ephemeral, did you mean critical?)",
            ),
            ("highwater.dev/app=vault", "annotations:1: highwater.dev/app: its value is not a Go string"),
            (
                "highwater.dev/prefix=\"p\"",
                "annotations:1: highwater.dev/prefix: stands without a bucket; bucket, prefix and endpoint replace a replica together",
            ),
            ("garbage", "annotations:1: is not key=\"value\" as the downward API writes it"),
            (
                "highwater.dev/app=\"a\"\nhighwater.dev/app=\"b\"",
                "annotations:2: highwater.dev/app: the same key is written twice",
            ),
        ] {
            assert_eq!(parse(text, "annotations", DEFAULT_DOMAIN).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn another_domain_is_another_domain() {
        let layer =
            parse("backup.example/app=\"a\"\nhighwater.dev/nonsense=\"\"", "x", "backup.example").unwrap();
        assert_eq!(layer.app.unwrap().value, "a");
    }
}
