//! Credentials from where pods keep them, read again for every request.
//!
//! Reading two small files costs nothing beside a request, and there is no cache to be stale: a rotated secret is used
//! by the next request. A request that was refused while the files changed is repeated ([`Credentials::changed`]).
//!
//! Order: files in the credentials directory (they can be rotated, the environment cannot), `AWS_*` and `LITESTREAM_*`
//! variables, the shared credentials file (`~/.aws/credentials`). Half a pair is an error, never skipped.

use crate::{DeniedReason, Error, Result};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// File names: key id, secret, session token.
const FILES: [[&str; 3]; 5] = [
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
    ["access-key-id", "secret-access-key", "session-token"],
    ["LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY", ""],
    ["RCLONE_ACCESS_KEY_ID", "RCLONE_SECRET_ACCESS_KEY", ""],
    ["RCLONE_CONFIG_S3_ACCESS_KEY_ID", "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY", ""],
];
const VARIABLES: [[&str; 3]; 2] = [
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
    ["LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY", ""],
];

#[derive(Clone, PartialEq, Eq)]
struct Found {
    id: String,
    secret: String,
    token: Option<String>,
}

/// The chain of sources, and what it gave last.
#[derive(Clone)]
pub(super) struct Credentials {
    dir: Option<PathBuf>,
    env: fn(&str) -> Option<String>,
    current: Arc<Mutex<Option<Found>>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Credentials {
    pub(super) fn new(dir: Option<PathBuf>, env: fn(&str) -> Option<String>) -> Self {
        Self { dir, env, current: Arc::default() }
    }

    /// Reads the sources; call before each request.
    pub(super) fn refresh(&self) -> Result<()> {
        let found = self.find()?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(())
    }

    /// True if the sources now say something else than what the last request used.
    pub(super) fn changed(&self) -> bool {
        let used = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.find().is_ok_and(|now| Some(now) != used)
    }

    fn find(&self) -> Result<Found> {
        if let Some(dir) = &self.dir {
            for names in FILES {
                let read = |name: &str| if name.is_empty() { Ok(None) } else { read_file(&dir.join(name)) };
                if let Some(found) = pair(names, read)? {
                    return Ok(found);
                }
            }
        }
        for names in VARIABLES {
            if let Some(found) = pair(names, |name| Ok((self.env)(name)))? {
                return Ok(found);
            }
        }
        if let Some(found) = self.shared_file()? {
            return Ok(found);
        }
        let place = self
            .dir
            .as_ref()
            .map_or(String::new(), |d| format!("{} has none of the known files, ", d.display()));
        Err(refuse(format!("none found: {place}AWS_ACCESS_KEY_ID is not set")))
    }

    fn shared_file(&self) -> Result<Option<Found>> {
        let home = || (self.env)("HOME").map(|home| Path::new(&home).join(".aws/credentials"));
        let Some(path) = (self.env)("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(home) else {
            return Ok(None);
        };
        let Some(text) = read_file(&path)? else { return Ok(None) };
        let profile = (self.env)("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        let section = section(&text, &profile);
        let names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
        pair(names, |name| Ok(section.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned())))
    }
}

fn refuse(detail: String) -> Error {
    Error::denied("credentials", DeniedReason::Credentials, detail)
}

fn pair(names: [&str; 3], read: impl Fn(&str) -> Result<Option<String>>) -> Result<Option<Found>> {
    match (read(names[0])?, read(names[1])?) {
        (Some(id), Some(secret)) => Ok(Some(Found { id, secret, token: read(names[2])? })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(refuse(format!("{} is there, {} is missing", names[0], names[1]))),
        (None, Some(_)) => Err(refuse(format!("{} is there, {} is missing", names[1], names[0]))),
    }
}

/// A file's trimmed content; an absent or empty file is `None`, an unreadable one an error.
fn read_file(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(refuse(format!("{}: {error}", path.display()))),
    }
}

/// The `key = value` lines of one section of an INI file.
fn section<'a>(text: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';'])) {
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = header.trim() == name;
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            out.push((key.trim(), value.trim()));
        }
    }
    out
}

impl ProvideCredentials for Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        future::ProvideCredentials::ready(match current {
            Some(found) => Ok(Keys::new(found.id, found.secret, found.token, None, "highwater")),
            None => Err(CredentialsError::not_loaded("no credentials were read")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn every_documented_file_name_is_read_and_re_read() {
        for [id, secret, _] in FILES {
            let dir = tempfile::tempdir().expect("scratch");
            let chain = Credentials::new(Some(dir.path().to_owned()), nothing);
            fs::write(dir.path().join(id), "key\n").expect("write");
            assert!(chain.refresh().is_err(), "half a pair is an error");
            fs::write(dir.path().join(secret), "secret\n").expect("write");
            chain.refresh().expect("a pair");
            assert!(!chain.changed());
            fs::write(dir.path().join(secret), "rotated\n").expect("write");
            assert!(chain.changed());
            chain.refresh().expect("a pair");
            let found = chain.current.lock().expect("lock").clone().expect("found");
            assert_eq!((found.id.as_str(), found.secret.as_str()), ("key", "rotated"));
        }
    }

    #[test]
    fn the_shared_file_by_profile() {
        let text = "[default]\naws_access_key_id = a\n# no\n[other]\naws_access_key_id=b\n";
        assert_eq!(section(text, "other"), [("aws_access_key_id", "b")]);
        assert_eq!(section(text, "default"), [("aws_access_key_id", "a")]);
    }

    #[test]
    fn nothing_found_says_where_it_looked() {
        let chain = Credentials::new(Some(PathBuf::from("/nonexistent")), nothing);
        let message = chain.refresh().expect_err("none").to_string();
        assert!(message.contains("/nonexistent") && message.contains("AWS_ACCESS_KEY_ID"), "{message}");
    }
}
