//! A small read-only reader of bbolt files, as etcd writes them: meta pages, B+tree, buckets, inline buckets.
//!
//! Why our own: the published readers want a freelist, and etcd on Linux stores none; and a prover must treat every number
//! in the file as hostile: nothing here panics, loops or allocates by what the file says (P7).
//! Facts: bbolt's page and meta structures; all integers little-endian; checked against files of etcd 3.4, 3.5 and 3.6.
//! What it does not do: write, know what etcd keeps in the buckets, trust the freelist.

mod element;
mod meta;
mod page;
mod walk;

pub(crate) use meta::Meta;
pub(crate) use page::{BRANCH, LEAF, META, PAGE_HEADER, PageHeader};
pub(crate) use walk::{Entry, Tree, Walked};

use std::io;

/// Random access to a snapshot's body.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset`; an error if that is beyond the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Bytes in all, the trailer included if there is one.
    fn size(&self) -> u64;
}

impl ReadAt for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |stat| stat.len())
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(buffer.len()).filter(|end| *end <= self.len());
        let Some(end) = end else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        buffer.copy_from_slice(&self[start..end]);
        Ok(())
    }
    fn size(&self) -> u64 {
        self.len() as u64
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
