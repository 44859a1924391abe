//! The K3s server token: without it a K3s snapshot is useless on a new host, because the CA keys inside are sealed with it.
//!
//! K3s keeps them at `/bootstrap/<first 12 hex digits of SHA-256(password)>` as `salt:base64(nonce, AES-256-GCM)` with a key by
//! PBKDF2-HMAC-SHA1 over 4,096 rounds. So whether a token opens a snapshot can be proven without any cluster.
//! The token is stored only sealed, and is wiped from no log because it never reaches one.

use crate::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;
use seal::{Options, Protection, Sealer};
use sha2::{Digest, Sha256};
use std::num::NonZeroU32;
use std::path::Path;

/// A token as its file has it.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads `/var/lib/rancher/k3s/server/token`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::Usage(format!("cannot read the token file {}: {error}", path.display()))
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The text of such a file.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > 4096 || text.contains(char::is_whitespace) {
            return Err(Error::Usage(format!("{place} holds no K3s token (one line, K10…::server:…)")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The part behind `K10<hash>::<user>:`, or all of it.
    fn password(&self) -> &str {
        match self.0.strip_prefix("K10").and_then(|rest| rest.split_once("::")) {
            Some((_, login)) => login.split_once(':').map_or(login, |(_, password)| password),
            None => &self.0,
        }
    }
}

/// The token as a sealed object.
pub(crate) fn seal(token: &Token, protection: &Protection) -> Result<Vec<u8>> {
    let Protection::Sealed(recipients) = protection else {
        return Err(Error::Usage("the server token is never stored in the clear".into()));
    };
    let mut writer = Sealer::new(Vec::new(), recipients, Options::default())?;
    writer.data(token.0.as_bytes())?;
    writer.data(b"\n")?;
    Ok(writer.finish()?)
}

/// Whether the token opens the bootstrap data of a snapshot; `false` when it is another cluster's or an old one.
pub fn opens(token: &Token, bootstrap: Option<&(String, Vec<u8>)>) -> Result<bool> {
    let Some((name, sealed)) = bootstrap else {
        return Err(Error::Refused(
            "the snapshot holds no K3s bootstrap data: is this a K3s server with embedded etcd?".into(),
        ));
    };
    let digest = hex::encode(Sha256::digest(token.password()));
    Ok(digest[..12] == **name && decrypt(token.password(), sealed).is_some())
}

fn decrypt(password: &str, sealed: &[u8]) -> Option<usize> {
    let at = sealed.iter().position(|byte| *byte == b':')?;
    let (salt, packed) = (&sealed[..at], &sealed[at + 1..]);
    let mut data = BASE64_STANDARD.decode(packed).ok()?;
    if data.len() < NONCE_LEN {
        return None;
    }
    let mut key = [0; 32];
    let rounds = NonZeroU32::new(4_096).expect("not zero");
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, rounds, salt, password.as_bytes(), &mut key);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(&data[..NONCE_LEN]).ok()?;
    key.open_in_place(nonce, Aad::empty(), &mut data[NONCE_LEN..]).ok().map(|clear| clear.len())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bootstrap data as K3s would have written it.
    pub(crate) fn bootstrap(password: &str, clear: &[u8]) -> (String, Vec<u8>) {
        let salt = "00112233445566aa";
        let mut key = [0; 32];
        let rounds = NonZeroU32::new(4_096).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, rounds, salt.as_bytes(), password.as_bytes(), &mut key);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let mut data = clear.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key([7; 12]), Aad::empty(), &mut data).unwrap();
        let packed = BASE64_STANDARD.encode([&[7; 12][..], &data].concat());
        let name = hex::encode(Sha256::digest(password))[..12].to_owned();
        (name, format!("{salt}:{packed}").into_bytes())
    }

    #[test]
    fn a_token_opens_its_own_snapshot_and_no_other() {
        let stored = bootstrap("s3cret", b"the CA keys");
        let opens = |text: &str| super::opens(&Token::parse(text, "t").unwrap(), Some(&stored)).unwrap();
        assert!(opens("s3cret") && opens("K10abcdef::server:s3cret\n"));
        assert!(!opens("K10abcdef::server:other") && !opens("s3cret2"));
        let mut damaged = stored.clone();
        let end = damaged.1.len() - 4;
        damaged.1[end] ^= 1;
        assert!(!super::opens(&Token::parse("s3cret", "t").unwrap(), Some(&damaged)).unwrap());
        assert!(super::opens(&Token::parse("s3cret", "t").unwrap(), None).is_err());
        assert_eq!(format!("{:?}", Token::parse("s3cret", "t").unwrap()), "Token(…)");
    }
}
