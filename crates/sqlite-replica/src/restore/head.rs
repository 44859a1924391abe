//! The header of one object, without the rest.

use crate::catalogue::Entry;
use crate::error::{Error, Result};
use crate::restore::object::{damaged, missing};
use crate::sealed::header_of;
use ltx::{HEADER_SIZE, Header};
use store::Store;

/// The beginning of an object, as far as everyone may read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Of a sealed object without its rolling checksum.
    pub(crate) header: Header,
    pub(crate) sealed: bool,
}

/// The header of an object: one ranged GET. Of a sealed one it is the clear part, whose rolling checksum is 0.
pub async fn read_header(store: &Store, entry: &Entry) -> Result<Header> {
    Ok(read_head(store, entry).await?.header)
}

/// As [`read_header`], and whether it is sealed.
pub(crate) async fn read_head(store: &Store, entry: &Entry) -> Result<Head> {
    let short = |size: u64| damaged(entry, format!("{size} bytes are too few for a header"));
    // Not asked for what is not there: a store answers a range of an empty object with an error of its own.
    if entry.size < HEADER_SIZE as u64 {
        return Err(short(entry.size));
    }
    let range = 0..entry.size.min(seal::CLEAR_BYTES as u64);
    let bytes = store.get_bytes(&entry.key, Some(range)).await.map_err(|e| missing(e, entry))?;
    if seal::is_sealed(&bytes) {
        return Ok(Head { header: header_of(&bytes, &entry.key)?, sealed: true });
    }
    let bytes = bytes.first_chunk::<HEADER_SIZE>().ok_or_else(|| short(bytes.len() as u64))?;
    Ok(Head { header: Header::from_bytes(bytes).map_err(Error::ltx(&entry.key))?.header, sealed: false })
}
