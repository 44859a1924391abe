//! The header that every page begins with.

use super::{u16_at, u32_at, u64_at};

/// Bytes of a page header.
pub(crate) const PAGE_HEADER: usize = 16;
/// Flags of a page: exactly one is set.
pub(crate) const BRANCH: u16 = 0x01;
/// See [`BRANCH`].
pub(crate) const LEAF: u16 = 0x02;
/// See [`BRANCH`].
pub(crate) const META: u16 = 0x04;
/// Id, kind, number of elements, further pages that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageHeader {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    pub(crate) overflow: u32,
}

impl PageHeader {
    /// Reads the first 16 bytes of a page.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        Self {
            id: u64_at(bytes, 0),
            flags: u16_at(bytes, 8),
            count: u16_at(bytes, 10),
            overflow: u32_at(bytes, 12),
        }
    }
}
