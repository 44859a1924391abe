//! What the caller of a room may do about its error: one list for all rooms, because the doors have one list of exit codes.

/// The class of a room's error; rooms call it `Class`, the doors turn it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomClass {
    /// Trying again may help: a store out of reach, a full disk, a file that was just replaced.
    Retriable,
    /// The command or its configuration is wrong.
    Usage,
    /// A guard said no, or there is nothing to restore; nothing was changed.
    Refused,
    /// The replica is damaged; the message says what is provable.
    Damaged,
    /// Another writer owns the replica, or another process works on the same data.
    Fenced,
}
