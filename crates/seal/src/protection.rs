//! The choice between sealed and plain, made once and in words.

use crate::{Error, Recipients};

/// How objects are written. There is no default: whoever makes one has said which.
#[derive(Debug, Clone)]
pub enum Protection {
    /// For these recipients only.
    Sealed(Recipients),
    /// For everyone who can read the store.
    Plain,
}

impl Protection {
    /// From the two settings of a command line: recipients, and the word `unencrypted`. Both and neither are refused.
    pub fn choose(recipients: Option<Recipients>, unencrypted: bool) -> Result<Self, Error> {
        let refused = |reason: &str| Error::Recipient { place: "encryption".into(), reason: reason.into() };
        match (recipients, unencrypted) {
            (Some(recipients), false) => Ok(Self::Sealed(recipients)),
            (None, true) => Ok(Self::Plain),
            (Some(_), true) => Err(refused("recipients are given and plain text is asked for; choose one")),
            (None, false) => {
                Err(refused("no recipient is given and plain text is not asked for; choose one"))
            }
        }
    }
}
