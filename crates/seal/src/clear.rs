//! The clear part of a sealed object: a stanza of its own type in the age header, which age and every other reader ignores.
//!
//! The age specification has readers skip stanzas they do not know (C2SP age, "Recipient stanza"; age itself sends random ones to keep
//! readers honest), so an object with such a stanza stays a plain age file. It is the first stanza, in words, so that a ranged read of
//! a few hundred bytes finds it, and `head -2` shows it. The header's MAC covers it: who opens the object notices a change; who only reads the stanza
//! does not. Nothing that has to stay secret belongs there.

use crate::Error;
use age_core::format::{FileKey, Stanza};
use std::collections::HashSet;

/// The first line of every age file.
pub(crate) const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// Bytes from the beginning of an object that always hold its clear part.
pub const CLEAR_BYTES: usize = 512;

/// A type and its arguments, one line: `-> type argument argument…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearPart {
    kind: String,
    arguments: Vec<String>,
}

impl ClearPart {
    /// Words of printable ASCII without spaces; all of them together shorter than 400 bytes.
    pub fn new(kind: &str, arguments: Vec<String>) -> Result<Self, Error> {
        let wrong = |word: &str| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic());
        if wrong(kind) || arguments.iter().any(|word| wrong(word)) {
            return Err(Error::Bounds("a clear part of other than printable words".into()));
        }
        let part = Self { kind: kind.into(), arguments };
        match part.line().len() + AGE_MAGIC.len() <= CLEAR_BYTES {
            true => Ok(part),
            false => Err(Error::Bounds("a clear part that is too long".into())),
        }
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// From the first [`CLEAR_BYTES`] of an object; `None` if it is sealed and has no clear part of this type.
    pub fn read(head: &[u8], kind: &str) -> Result<Option<Self>, Error> {
        let Some(rest) = head.strip_prefix(AGE_MAGIC) else {
            return Err(Error::NotSealed("it does not begin with an age header".into()));
        };
        let cut = || Error::Damaged("it ends within the age header".into());
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
        let line = std::str::from_utf8(&rest[..end])
            .map_err(|_| Error::Damaged("its age header is not text".into()))?;
        let mut words = line.split(' ');
        if words.next() != Some("->") || words.next() != Some(kind) {
            return Ok(None);
        }
        Self::new(kind, words.map(str::to_owned).collect()).map(Some)
    }

    fn line(&self) -> String {
        format!("-> {} {}\n", self.kind, self.arguments.join(" "))
    }
}

/// Whether an object that begins with these bytes is sealed.
pub fn is_sealed(head: &[u8]) -> bool {
    head.starts_with(AGE_MAGIC)
}

/// Puts the stanza into the header and the key nowhere.
impl age::Recipient for ClearPart {
    fn wrap_file_key(&self, _: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let (tag, args) = (self.kind.clone(), self.arguments.clone());
        Ok((vec![Stanza { tag, args, body: Vec::new() }], HashSet::new()))
    }
}
