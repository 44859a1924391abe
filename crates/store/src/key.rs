//! Keys: UTF-8 paths relative to the prefix of the URL.
//!
//! A key must mean the same thing in a bucket and in a directory, so what a file system would bend is refused: empty,
//! `.` and `..` segments, a leading or trailing `/`, characters XML cannot carry (listings are XML), segments over 255
//! bytes, names of our own temporary files. S3 allows 1,024 bytes for prefix and key together; [`MAX_KEY`] leaves room
//! for the prefix.

use crate::{Error, Result};

/// Longest key in bytes, without the prefix of the URL.
pub const MAX_KEY: usize = 900;

/// Names starting like this are unfinished uploads of `file://`; listings skip them, keys may not use them.
pub(crate) const TEMP_PREFIX: &str = ".highwater-tmp-";

/// Refuses keys that would not mean the same in every backend.
pub fn check_key(key: &str) -> Result<()> {
    let problem = if key.is_empty() {
        "is empty"
    } else if key.len() > MAX_KEY {
        "is longer than 900 bytes"
    } else if key.chars().any(|c| c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        "contains a control character"
    } else if key.split('/').any(|s| s.is_empty() || s == "." || s == "..") {
        "has an empty, '.' or '..' segment"
    } else if key.split('/').any(|s| s.len() > 255) {
        "has a segment over 255 bytes"
    } else if key.split('/').any(|s| s.starts_with(TEMP_PREFIX)) {
        "uses the name of a temporary file"
    } else {
        return Ok(());
    };
    Err(Error::Refused(format!("key {key:?} {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_the_same_everywhere() {
        for good in ["0000/0000000000000001-0000000000000001.ltx", "a b/c+d%20&=ü", "..a/b.."] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b", ".highwater-tmp-1", &long] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }
}
