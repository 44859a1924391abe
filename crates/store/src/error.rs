//! What can go wrong with a store, and what it means for the caller.
//!
//! Every error has a [`Class`] (what to do) and a [`Error::reason`] (the metric label). Messages are one line, lower
//! case: what, where, hint. They never hold secrets or payload.
//!
//! P6: [`Error::NotFound`] says that a store answered "no such key". A missing bucket or an unmounted directory is
//! [`Error::NoRoot`]; a commit that could not be compared is [`Error::Undecided`], never "fenced".

use std::fmt;

/// What a caller may do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same call may succeed later.
    Retriable,
    /// Repeating does not help; something has to change outside.
    Fatal,
    /// A guard or the configuration said no; nothing was changed.
    Refused,
    /// The effect is not known and could not be found out; neither success nor refusal may be reported.
    Unknown,
}

/// Why a store is not serving; all of these may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No answer, or no progress, in time.
    Timeout,
    /// No connection, or it broke.
    Connect,
    /// The store asks to slow down.
    Throttled,
    /// The store failed (5xx).
    Server,
    /// Another write to the same key was in progress (409).
    Conflict,
    /// Credentials were replaced while the request was under way.
    Credentials,
    /// The clocks differ; the next request is signed with the server's time.
    ClockSkew,
}

impl Trouble {
    /// The label used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Timeout => "timeout",
            Trouble::Connect => "connect",
            Trouble::Throttled => "throttled",
            Trouble::Server => "server",
            Trouble::Conflict => "conflict",
            Trouble::Credentials => "bad_credentials",
            Trouble::ClockSkew => "clock_skew",
        }
    }
}

/// Why a store said no to these credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedReason {
    /// Known credentials without this right.
    Access,
    /// Unknown, expired, wrong or missing credentials.
    Credentials,
    /// The clocks differ by more than the store tolerates (15 minutes on S3).
    ClockSkew,
}

/// Errors of the store crate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store answered that there is no object under this key.
    #[error("no object {key}")]
    NotFound {
        /// Full key in the store.
        key: String,
    },
    /// A create-only put met an object; it was not compared with ours.
    #[error("object {key} exists already")]
    AlreadyExists {
        /// Full key in the store.
        key: String,
    },
    /// Another writer's object stands where ours should go (P4).
    #[error("fenced: another writer has committed {key}")]
    Fenced {
        /// Full key in the store.
        key: String,
    },
    /// An object stands where ours should go and it cannot be told whose it is.
    #[error("cannot tell who committed {key}: {why}")]
    Undecided {
        /// Full key in the store.
        key: String,
        /// What was tried.
        why: String,
    },
    /// The bucket or the root directory is missing; says nothing about objects.
    #[error("{root} does not exist: {hint}")]
    NoRoot {
        /// `bucket b` or `directory /p`.
        root: String,
        /// What to do about it.
        hint: String,
    },
    /// The store refused the credentials or the right.
    #[error("{what} denied{}: {detail}", hint_of(.reason))]
    Denied {
        /// `put 0000/1.ltx`, as sent.
        what: String,
        /// Access, credentials or clock.
        reason: DeniedReason,
        /// The store's code and message.
        detail: String,
    },
    /// The store does not serve right now.
    #[error("{what} failed ({}): {detail}", .trouble.as_str())]
    Unavailable {
        /// `put 0000/1.ltx`, as sent.
        what: String,
        /// What kind of trouble.
        trouble: Trouble,
        /// The cause in one line.
        detail: String,
    },
    /// Configuration, URL or request that is refused before or by the store; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A body or answer that is not what the store promised: short, changed while reading, unreadable.
    #[error("{key}: {what}")]
    Corrupt {
        /// Full key in the store.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// Anything else.
    #[error("{what} failed: {detail}")]
    Other {
        /// `put 0000/1.ltx`, as sent.
        what: String,
        /// The cause in one line.
        detail: String,
    },
}

fn hint_of(reason: &DeniedReason) -> &'static str {
    match reason {
        DeniedReason::Access => " (check the policy of these credentials)",
        DeniedReason::Credentials => " (check the credentials)",
        DeniedReason::ClockSkew => " (clock skew: check the time on this machine and on the store)",
    }
}

impl Error {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Error::Unavailable { .. } => Class::Retriable,
            Error::Undecided { .. } => Class::Unknown,
            Error::Refused(_) | Error::Fenced { .. } | Error::AlreadyExists { .. } => Class::Refused,
            Error::NotFound { .. }
            | Error::NoRoot { .. }
            | Error::Denied { .. }
            | Error::Corrupt { .. }
            | Error::Other { .. } => Class::Fatal,
        }
    }

    /// The label for metrics; a small fixed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::NotFound { .. } => "not_found",
            Error::AlreadyExists { .. } | Error::Fenced { .. } | Error::Undecided { .. } => "conflict",
            Error::NoRoot { .. } => "no_root",
            Error::Denied { reason: DeniedReason::Access, .. } => "access_denied",
            Error::Denied { reason: DeniedReason::Credentials, .. } => "bad_credentials",
            Error::Denied { reason: DeniedReason::ClockSkew, .. } => "clock_skew",
            Error::Unavailable { trouble, .. } => trouble.as_str(),
            Error::Refused(_) => "refused",
            Error::Corrupt { .. } => "corrupt",
            Error::Other { .. } => "other",
        }
    }

    /// True when the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        self.class() == Class::Retriable
    }

    /// True for a proven absence of the key, and for nothing else (P6).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// True when another writer owns the data.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Error::Fenced { .. })
    }

    pub(crate) fn unavailable(what: impl fmt::Display, trouble: Trouble, detail: impl fmt::Display) -> Self {
        Error::Unavailable { what: what.to_string(), trouble, detail: one_line(detail) }
    }

    pub(crate) fn denied(what: impl fmt::Display, reason: DeniedReason, detail: impl fmt::Display) -> Self {
        Error::Denied { what: what.to_string(), reason, detail: one_line(detail) }
    }

    pub(crate) fn other(what: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Error::Other { what: what.to_string(), detail: one_line(detail) }
    }

    pub(crate) fn corrupt(key: &str, what: impl fmt::Display) -> Self {
        Error::Corrupt { key: key.to_owned(), what: one_line(what) }
    }

    pub(crate) fn not_found(key: &str) -> Self {
        Error::NotFound { key: key.to_owned() }
    }

    pub(crate) fn exists(key: &str) -> Self {
        Error::AlreadyExists { key: key.to_owned() }
    }
}

/// Servers answer with pages of HTML at times; a message stays one line of at most 300 characters.
fn one_line(text: impl fmt::Display) -> String {
    let text = text.to_string();
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(300) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_one_short_line() {
        let error = Error::other("put x", format!("<html>\n{}\n</html>", "y ".repeat(1_000)));
        let text = error.to_string();
        assert!(!text.contains('\n') && text.chars().count() < 340, "{text}");
    }

    #[test]
    fn p6_only_not_found_is_an_absence() {
        let missing = Error::NoRoot { root: "bucket b".into(), hint: "create it".into() };
        assert!(!missing.is_not_found());
        assert!(Error::not_found("k").is_not_found());
        let undecided = Error::Undecided { key: "k".into(), why: "denied".into() };
        assert_eq!((undecided.is_fenced(), undecided.class()), (false, Class::Unknown));
    }
}
