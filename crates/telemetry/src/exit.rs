//! The exit codes that all doors share.
//!
//! They are an interface: scripts, CronJobs and alerts read them. Nothing may renumber them.

use std::process::ExitCode;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, pending deletions of a plan included.
    Done = 0,
    /// Failed; a retry may help.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Refused by a guard, or nothing there to restore; nothing changed.
    Refused = 3,
    /// The replica is damaged; what is provable is in the message.
    Damaged = 4,
    /// Fenced by another writer, or a second process works on the same data.
    Fenced = 5,
    /// Partly done, or an incomplete drain.
    Partial = 6,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether everything that was asked for was done.
    pub fn is_done(self) -> bool {
        self == Self::Done
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_an_interface() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Refused,
            Exit::Damaged,
            Exit::Fenced,
            Exit::Partial,
        ];
        for (number, exit) in all.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), number);
            assert_eq!(exit.is_done(), number == 0);
        }
    }
}
