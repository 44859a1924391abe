//! From the keys of an rclone mirror to paths: rclone's encoding of names that an S3 key cannot hold.
//!
//! U+201B quotes: two hex digits after it are a byte that is not UTF-8, any other character is meant literally. A full-width slash or
//! dots stand for names that no Linux file has; they and everything else that is no path end the import, because a file that is
//! silently left out would be missed only when it is needed.

use crate::path::RelPath;
use crate::{Error, Result};

const QUOTE: char = '\u{201B}';
const SLASH: char = '\u{FF0F}';
const DOT: char = '\u{FF0E}';
/// Suffix of links, with `--links`.
const LINK: &[u8] = b".rclonelink";

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    File(RelPath),
    Link(RelPath),
    /// A marker: the key ends with a slash.
    Directory(RelPath),
}

impl Name {
    pub(super) fn path(&self) -> &RelPath {
        match self {
            Name::File(path) | Name::Link(path) | Name::Directory(path) => path,
        }
    }
}

/// Decodes one key.
pub(super) fn decode(key: &str) -> Result<Name> {
    let wrong = |why: &str| Error::damaged(format!("the mirror has a key {key:?} that is no path: {why}"));
    let (text, is_dir) = match key.strip_suffix('/') {
        Some(text) => (text, true),
        None => (key, false),
    };
    let mut bytes = Vec::with_capacity(text.len());
    for (at, segment) in text.split('/').enumerate() {
        if at > 0 {
            bytes.push(b'/');
        }
        bytes.extend(
            decode_segment(segment).ok_or_else(|| wrong("it stands for a name that Linux does not have"))?,
        );
    }
    let link = bytes.strip_suffix(LINK).filter(|path| !path.is_empty() && !path.ends_with(b"/"));
    let (bytes, is_link) = match link {
        Some(path) if !is_dir => (path.to_vec(), true),
        _ => (bytes, false),
    };
    let path = RelPath::new(bytes).map_err(|why| wrong(&why))?;
    Ok(match (is_dir, is_link) {
        (true, _) => Name::Directory(path),
        (_, true) => Name::Link(path),
        _ => Name::File(path),
    })
}

/// The key of a path: the other direction.
pub(crate) fn encode(path: &RelPath) -> String {
    let segments = path.as_bytes().split(|b| *b == b'/').map(encode_segment);
    segments.collect::<Vec<_>>().join("/")
}

fn encode_segment(segment: &[u8]) -> String {
    let mut key = String::with_capacity(segment.len());
    for chunk in segment.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, QUOTE | SLASH) {
                key.push(QUOTE);
            }
            key.push(c);
        }
        for byte in chunk.invalid() {
            key.push(QUOTE);
            key.push_str(&format!("{byte:02X}"));
        }
    }
    match key.chars().all(|c| c == DOT) && (1..=2).contains(&key.chars().count()) {
        true => format!("{QUOTE}{key}"),
        false => key,
    }
}

fn decode_segment(segment: &str) -> Option<Vec<u8>> {
    if segment.chars().all(|c| c == DOT) && (1..=2).contains(&segment.chars().count()) {
        return None;
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.chars();
    while let Some(c) = rest.next() {
        match c {
            SLASH => return None,
            QUOTE => {
                let after = rest.as_str();
                match after.get(..2).and_then(|two| u8::from_str_radix(two, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = after[2..].chars();
                    }
                    None => bytes.extend(rest.next().unwrap_or(QUOTE).to_string().as_bytes()),
                }
            }
            c => bytes.extend(c.to_string().as_bytes()),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_keys_become_the_names_they_were_made_from_or_an_error() {
        let file = |bytes: &[u8]| Some(Name::File(RelPath::new(bytes).unwrap()));
        for (key, want) in [
            ("a/b.yaml", file(b"a/b.yaml")),
            ("caf\u{201B}E9", file(b"caf\xe9")),
            ("x\u{201B}\u{201B}y", file("x\u{201B}y".as_bytes())),
            ("\u{201B}\u{FF0E}", file("\u{FF0E}".as_bytes())),
            ("a\u{201B}\u{FF0F}b", file("a\u{FF0F}b".as_bytes())),
            ("d/current.rclonelink", Some(Name::Link(RelPath::new(b"d/current".as_slice()).unwrap()))),
            (".rclonelink", file(b".rclonelink")),
            ("empty/", Some(Name::Directory(RelPath::new(b"empty".as_slice()).unwrap()))),
            ("a\u{FF0F}b", None),
            ("\u{FF0E}\u{FF0E}/x", None),
            ("../x", None),
            ("a//b", None),
            ("/etc/passwd", None),
        ] {
            assert_eq!(decode(key).ok(), want, "{key}");
        }
        for path in [
            b"caf\xe9".as_slice(),
            "x\u{201B}y/\u{FF0E}".as_bytes(),
            "a\u{FF0F}b".as_bytes(),
            b"plain/x.yaml",
        ] {
            let path = RelPath::new(path).unwrap();
            assert_eq!(decode(&encode(&path)).ok(), Some(Name::File(path.clone())), "{path}");
        }
    }
}
