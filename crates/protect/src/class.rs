//! What the caller of a failed operation can do about it.

/// The class of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same call may succeed later.
    Retriable,
    /// It will fail again until someone changes the description.
    Fatal,
    /// A guard said no; nothing was changed.
    Refused,
}
