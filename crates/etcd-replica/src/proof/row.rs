//! One row of etcd's `key` bucket: a revision, and the user's key inside the value.

use super::wire::Fields;
use crate::{Error, Result};

/// Name of the bucket that holds all revisions.
pub(crate) const KEY_BUCKET: &[u8] = b"key";
/// Name of the bucket with etcd's own numbers.
pub(crate) const META_BUCKET: &[u8] = b"meta";

/// Revision and kind of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) main: i64,
    pub(crate) tombstone: bool,
    pub(crate) user_key: &'a [u8],
}

impl<'a> Row<'a> {
    pub(crate) fn read(key: &[u8], value: &'a [u8]) -> Result<Self> {
        let main = main_revision(key)?;
        let user_key =
            Fields::bytes(value, 1).ok_or_else(|| Error::damaged(format!("revision {main} names no key")))?;
        Ok(Self { main, tombstone: key.len() == 18, user_key })
    }
}

/// The main revision of a 17 or 18 byte key: `main _ sub [t]`, big-endian.
pub(crate) fn main_revision(key: &[u8]) -> Result<i64> {
    let sound = (key.len() == 17 || (key.len() == 18 && key[17] == b't')) && key[8] == b'_';
    if !sound {
        return Err(Error::damaged(format!("a key of {} bytes in the bucket of revisions", key.len())));
    }
    Ok(i64::from_be_bytes(key[..8].try_into().expect("eight bytes")))
}
