//! Whom an object is sealed for: age's X25519 recipients and SSH public keys.
//!
//! The text is the one that `age -R` reads: one per line, `#` begins a comment line, blank lines do not count. An error
//! names the source and line and repeats the text only where it cannot be a secret.

use crate::Error;
use age::ssh::ParseRecipientKeyError;
use std::fmt;

/// One or more recipients; never none.
#[derive(Clone)]
pub struct Recipients {
    list: Vec<Recipient>,
}

#[derive(Clone)]
enum Recipient {
    X25519(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

impl Recipients {
    /// Reads recipients, one per line; `place` names the source in errors.
    pub fn parse(text: &str, place: &str) -> Result<Self, Error> {
        let lines = text.lines().enumerate().map(|(index, line)| (format!("{place}:{}", index + 1), line));
        Self::collect(lines, place)
    }

    /// Reads recipients from a list of a configuration; `place` names the list in errors.
    pub fn from_list<S: AsRef<str>>(list: &[S], place: &str) -> Result<Self, Error> {
        let entries =
            list.iter().enumerate().map(|(index, text)| (format!("{place}[{index}]"), text.as_ref()));
        Self::collect(entries, place)
    }

    fn collect<'a>(entries: impl Iterator<Item = (String, &'a str)>, place: &str) -> Result<Self, Error> {
        let mut list: Vec<Recipient> = Vec::new();
        for (place, text) in entries {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let recipient = one(text).map_err(|reason| Error::Recipient { place, reason })?;
            if list.iter().all(|known| known.to_string() != recipient.to_string()) {
                list.push(recipient);
            }
        }
        if list.is_empty() {
            return Err(Error::Recipient { place: place.into(), reason: "holds no recipient".into() });
        }
        Ok(Self { list })
    }

    /// The recipients as text, for manifests and status.
    pub fn texts(&self) -> Vec<String> {
        self.list.iter().map(Recipient::to_string).collect()
    }

    pub(crate) fn as_age(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.list.iter().map(|recipient| match recipient {
            Recipient::X25519(key) => key as &dyn age::Recipient,
            Recipient::Ssh(key) => key as &dyn age::Recipient,
        })
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519(key) => key.fmt(f),
            Self::Ssh(key) => key.fmt(f),
        }
    }
}

fn one(text: &str) -> Result<Recipient, String> {
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") || text.starts_with("-----BEGIN") {
        return Err(
            "holds a secret key where a recipient (age1…, ssh-ed25519 …) belongs; treat it as leaked".into(),
        );
    }
    if text.starts_with("age1") {
        return match text.parse() {
            Ok(key) => Ok(Recipient::X25519(key)),
            Err(reason) => Err(format!("{text:?} is not an age X25519 recipient: {reason}")),
        };
    }
    if !text.starts_with("ssh-") {
        return Err("is not a recipient (age1…, ssh-ed25519 … or ssh-rsa …)".into());
    }
    text.parse().map(Recipient::Ssh).map_err(|error| match error {
        ParseRecipientKeyError::RsaModulusTooSmall => "its RSA key is shorter than 2048 bits".into(),
        ParseRecipientKeyError::RsaModulusTooLarge => "its RSA key is longer than 4096 bits".into(),
        ParseRecipientKeyError::Unsupported(kind) => format!("SSH keys of type {kind} cannot be sealed for"),
        _ => "is not an SSH public key of type ssh-ed25519 or ssh-rsa".into(),
    })
}
