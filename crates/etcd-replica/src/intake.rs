//! Receiving a snapshot: length, digest and trailer are checked while the bytes pass into the spool.
//!
//! The meta page in the first bytes says how long the body is; what the source announced must agree, and so must what
//! arrives. A stream that ends early, a missing trailer and bytes behind it are errors here, before anything is shipped (P2).
//! etcd's own clients look at `size % 512` only, and Talos ends a failed stream with OK.

use crate::bolt::{Meta, PAGE_HEADER};
use crate::proof::TRAILER;
use crate::spool::{Spool, SpoolWriter, check_space};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes in which the meta page is complete.
const HEAD: usize = PAGE_HEADER + 64;

/// Takes the bytes of a snapshot in their order.
pub(crate) struct Intake {
    dir: PathBuf,
    spool: SpoolWriter,
    digest: Sha256,
    head: Vec<u8>,
    /// Bytes of the body, once known.
    body: Option<u64>,
    received: u64,
    trailer: Vec<u8>,
    needs_trailer: bool,
}

/// A received snapshot, at level 1: complete, and equal to its digest.
pub struct Received {
    /// The bytes, body and trailer.
    pub spool: Arc<Spool>,
    /// Bytes of the body.
    pub body: u64,
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    /// Whether the source sent the digest.
    pub trailer: bool,
}

impl Intake {
    /// `needs_trailer` for streams, which always end with the digest.
    pub(crate) fn new(dir: &Path, needs_trailer: bool) -> Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            spool: SpoolWriter::create(dir)?,
            digest: Sha256::new(),
            head: Vec::with_capacity(HEAD),
            body: None,
            received: 0,
            trailer: Vec::new(),
            needs_trailer,
        })
    }

    /// Bytes of the body that the source announces; there must be room for them.
    pub(crate) fn announce(&self, body: u64) -> Result<()> {
        check_space(&self.dir, body)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.body.is_none() {
            let count = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..count]);
            if self.head.len() == HEAD {
                let body = Meta::read(&self.head[PAGE_HEADER..])?.body();
                check_space(&self.dir, body)?;
                self.body = Some(body);
                let head = std::mem::take(&mut self.head);
                self.take(&head)?;
            }
            return self.take_rest(&bytes[count..]);
        }
        self.take(bytes)
    }

    fn take_rest(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.take(bytes) }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let body = self.body.expect("known once the head is complete");
        let left = usize::try_from(body.saturating_sub(self.received)).unwrap_or(usize::MAX);
        let (inside, behind) = bytes.split_at(left.min(bytes.len()));
        self.digest.update(inside);
        self.trailer.extend_from_slice(&behind[..behind.len().min(TRAILER as usize + 1)]);
        if self.trailer.len() > TRAILER as usize {
            return Err(Error::damaged(format!(
                "more bytes arrive than the {body} of the body and its checksum"
            )));
        }
        self.received += bytes.len() as u64;
        self.spool.write(bytes)
    }

    pub(crate) fn finish(self) -> Result<Received> {
        let Some(body) = self.body else {
            return Err(Error::Source(format!(
                "the snapshot ended after {} bytes; nothing was kept",
                self.head.len()
            )));
        };
        if self.received < body {
            return Err(Error::Source(format!(
                "the snapshot ended after {} of {body} bytes; nothing was kept",
                self.received
            )));
        }
        let sha256: [u8; 32] = self.digest.finalize().into();
        match <&[u8; 32]>::try_from(self.trailer.as_slice()) {
            Ok(trailer) => crate::proof::compare_digest(&sha256, trailer)?,
            Err(_) if self.trailer.is_empty() && !self.needs_trailer => {}
            Err(_) => {
                return Err(Error::Source(format!(
                    "the snapshot ended with {} of the 32 bytes of its checksum; nothing was kept",
                    self.trailer.len()
                )));
            }
        }
        let trailer = !self.trailer.is_empty();
        Ok(Received { spool: Arc::new(self.spool.finish()?), body, sha256, trailer })
    }
}
