//! Who opens an object: age secret keys and unencrypted SSH private keys.
//!
//! Everything runs unattended, so a key behind a passphrase is an error rather than a question. No error, `Debug` or log
//! ever holds any part of a key; the text is wiped from memory once it is read.

use crate::Error;
use age::secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A file of identities is smaller than this (P7).
const LARGEST_FILE: u64 = 1 << 20;

/// One or more identities; never none.
pub struct Identities {
    list: Vec<Box<dyn age::Identity + Send + Sync>>,
}

impl Identities {
    /// Reads the text of an identity file (`AGE-SECRET-KEY-…` lines with `#` comments, or one SSH private key); `place`
    /// names the source in errors.
    pub fn parse(text: &str, place: &str) -> Result<Self, Error> {
        let refused = |place: String, reason: &str| Error::Identity { place, reason: reason.into() };
        if text.trim_start().starts_with("-----BEGIN") {
            return Ok(Self { list: vec![ssh(text).map_err(|reason| refused(place.into(), reason))?] });
        }
        if text.starts_with("age-encryption.org/") {
            return Err(refused(
                place.into(),
                "is itself encrypted; decrypt it first, nobody is here to type",
            ));
        }
        let mut list: Vec<Box<dyn age::Identity + Send + Sync>> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("{place}:{}", index + 1);
            if line.starts_with("age1") || line.starts_with("ssh-") {
                return Err(refused(
                    place(),
                    "is a public key; an identity (AGE-SECRET-KEY-…) is needed to open",
                ));
            }
            let key: age::x25519::Identity =
                line.parse().map_err(|_| refused(place(), "is not an identity (AGE-SECRET-KEY-1…)"))?;
            list.push(Box::new(key));
        }
        if list.is_empty() {
            return Err(refused(place.into(), "holds no identity"));
        }
        Ok(Self { list })
    }

    /// Reads an identity file.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let place = path.display().to_string();
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text));
        let text = SecretString::from(text);
        match read {
            Ok(count) if count as u64 > LARGEST_FILE => {
                Err(Error::Identity { place, reason: "is larger than 1 MiB".into() })
            }
            Ok(_) => Self::parse(text.expose_secret(), &place),
            Err(error) => Err(Error::Identity { place, reason: format!("cannot be read: {error}") }),
        }
    }

    /// Adds the identities of another source: during a rotation objects of both keys are opened.
    pub fn join(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        self
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn as_age(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.list.iter().map(|identity| &**identity as &dyn age::Identity)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.list.len())
    }
}

fn ssh(text: &str) -> Result<Box<dyn age::Identity + Send + Sync>, &'static str> {
    match age::ssh::Identity::from_buffer(text.trim_start().as_bytes(), None) {
        Ok(identity @ age::ssh::Identity::Unencrypted(_)) => Ok(Box::new(identity)),
        Ok(age::ssh::Identity::Encrypted(_)) => {
            Err("is an SSH key behind a passphrase; nobody is here to type it")
        }
        Ok(age::ssh::Identity::Unsupported(_)) => Err("is an SSH key of a form that age does not support"),
        Err(_) => Err("is not an SSH private key that can be read"),
    }
}
