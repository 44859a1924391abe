//! Length, trailer and digest: what a snapshot must be before anything inside is looked at.
//!
//! etcd tells a snapshot with trailer by `size % 512 == 32`, which every file cut at a page boundary and 32 bytes passes.
//! Here the length must be what the meta page says, to the byte, and the trailer the SHA-256 of the body.

use crate::bolt::{Meta, ReadAt};
use crate::{Error, Result};
use sha2::{Digest, Sha256};

/// Bytes of the SHA-256 behind the body.
pub const TRAILER: u64 = 32;
const CHUNK: usize = 256 << 10;

/// Lengths of a snapshot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the bbolt file.
    pub body: u64,
    /// Whether the SHA-256 follows it.
    pub trailer: bool,
    /// Whether the meta pages are the pair that the snapshot RPC writes; a raw copy of a data directory has another.
    pub from_rpc: bool,
    pub(crate) meta: Meta,
}

impl Shape {
    /// Reads the meta pages and compares lengths.
    pub fn of(file: &dyn ReadAt) -> Result<Self> {
        let size = file.size();
        if size < 1024 {
            return Err(Error::damaged(format!("{size} bytes are no snapshot")));
        }
        let (meta, from_rpc) = Meta::of(file)?;
        let body = meta.body();
        if body != size && body.checked_add(TRAILER) != Some(size) {
            return Err(Error::damaged(format!(
                "the file has {size} bytes, but its meta page says {body} and 32 for the checksum: {}",
                if size < body { "truncated" } else { "something is behind it" }
            )));
        }
        Ok(Self { body, trailer: size != body, from_rpc, meta })
    }
}

/// SHA-256 of the body; compared with the trailer when there is one.
pub fn check_digest(file: &dyn ReadAt, shape: &Shape) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < shape.body {
        let count = usize::try_from(shape.body - at).unwrap_or(CHUNK).min(CHUNK);
        file.read_at(at, &mut buffer[..count]).map_err(Error::local("read the snapshot"))?;
        digest.update(&buffer[..count]);
        at += count as u64;
    }
    let digest: [u8; 32] = digest.finalize().into();
    if shape.trailer {
        let mut trailer = [0; TRAILER as usize];
        file.read_at(shape.body, &mut trailer).map_err(Error::local("read the trailer"))?;
        compare(&digest, &trailer)?;
    }
    Ok(digest)
}

pub(crate) fn compare(digest: &[u8; 32], trailer: &[u8; 32]) -> Result<()> {
    if digest == trailer {
        return Ok(());
    }
    Err(Error::damaged(format!(
        "the SHA-256 of the body is {}, but its trailer says {}",
        hex::encode(digest),
        hex::encode(trailer)
    )))
}
