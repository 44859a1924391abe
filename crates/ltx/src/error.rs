//! What can be wrong with an LTX file, told by rule and byte offset.
//!
//! Offsets are absolute in the file unless a function says that it only sees a part of one.

use std::io;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A broken rule, and where it was broken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader or writer underneath failed.
    #[error("ltx input or output: {0}")]
    Io(#[from] io::Error),
    /// The bytes end before the file does. `offset` is where they end.
    #[error("ltx file is cut off at byte {offset}: upload or download incomplete")]
    Truncated {
        /// Where the bytes end.
        offset: u64,
    },
    /// A header field breaks a rule.
    #[error("ltx header at byte {offset}: {rule}")]
    Header {
        /// The broken rule.
        rule: &'static str,
        /// Where the field begins.
        offset: u64,
    },
    /// A page frame breaks a rule.
    #[error("ltx page {pgno} at byte {offset}: {rule}")]
    Page {
        /// The page number as far as it is known, else 0.
        pgno: u32,
        /// Where the frame begins.
        offset: u64,
        /// The broken rule.
        rule: &'static str,
    },
    /// The page index breaks a rule or does not match the pages.
    #[error("ltx page index at byte {offset}: {rule}")]
    Index {
        /// Where it was noticed.
        offset: u64,
        /// The broken rule.
        rule: &'static str,
    },
    /// The trailer breaks a rule.
    #[error("ltx trailer at byte {offset}: {rule}")]
    Trailer {
        /// Where the field begins.
        offset: u64,
        /// The broken rule.
        rule: &'static str,
    },
    /// Content and checksum differ.
    #[error("ltx {what} is {actual:016x} and should be {expected:016x}: content damaged")]
    Checksum {
        /// Which checksum.
        what: &'static str,
        /// As written in the file.
        expected: u64,
        /// As computed from the content.
        actual: u64,
    },
    /// Files or parts of a file do not follow one another.
    #[error("ltx order, at input {input}: {rule}")]
    Order {
        /// Position of the input that does not fit, from 0.
        input: usize,
        /// The broken rule.
        rule: &'static str,
    },
    /// The caller asked to write, or offered a buffer for, something that no reader would accept.
    #[error("ltx refuses page {pgno}: {rule}")]
    Encode {
        /// The page in question, 0 for the file as a whole.
        pgno: u32,
        /// The broken rule.
        rule: &'static str,
    },
    /// A text is not a name of the kind expected.
    #[error("not an ltx name: {rule}")]
    Name {
        /// The broken rule.
        rule: &'static str,
    },
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Reading the same object again may help.
    Retriable,
    /// These bytes will never be a valid file.
    Fatal,
    /// The request was wrong; nothing was written that a reader could take for a file.
    Refused,
}

impl Error {
    /// What can be done about it.
    ///
    /// A cut-off file counts as retriable: a dropped connection looks the same as a short object.
    pub fn class(&self) -> Class {
        match self {
            Error::Io(_) | Error::Truncated { .. } => Class::Retriable,
            Error::Header { .. }
            | Error::Page { .. }
            | Error::Index { .. }
            | Error::Trailer { .. }
            | Error::Checksum { .. } => Class::Fatal,
            Error::Order { .. } | Error::Encode { .. } | Error::Name { .. } => Class::Refused,
        }
    }
}
