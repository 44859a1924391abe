//! The two meta pages: where the tree begins, and how long the file must be.
//!
//! In a snapshot that came through the RPC, meta 0 and meta 1 are copies but for page id, transaction id (meta 1 is one
//! older) and checksum, because bbolt writes them so when it copies a transaction. A raw copy of a data directory does
//! not look like that. The length of the body is `high_water * page_size` exactly: one comparison finds every truncation.

use super::{META, PAGE_HEADER, PageHeader, ReadAt, u32_at, u64_at};
use crate::{Error, Result};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes of the meta structure in front of its checksum.
const CHECKED: usize = 56;
/// The largest page that any platform uses.
const MAX_PAGE: u32 = 65_536;

/// What the newest valid meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: u64,
    /// Number of pages; the first page id that does not exist.
    pub(crate) high_water: u64,
    pub(crate) txid: u64,
}

impl Meta {
    /// Reads a meta structure (without the page header).
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let page_size = u32_at(bytes, 8);
        if u32_at(bytes, 0) != MAGIC {
            return Err(Error::damaged("not a bbolt file: the magic number of the meta page is wrong"));
        }
        if u32_at(bytes, 4) != VERSION {
            return Err(Error::damaged(format!("bbolt version {} (2 is known)", u32_at(bytes, 4))));
        }
        if u64_at(bytes, CHECKED) != fnv1a(&bytes[..CHECKED]) {
            return Err(Error::damaged("a meta page does not match its checksum"));
        }
        if !page_size.is_power_of_two() || !(512..=MAX_PAGE).contains(&page_size) {
            return Err(Error::damaged(format!("page size {page_size} in the meta page")));
        }
        Ok(Self {
            page_size,
            root: u64_at(bytes, 16),
            high_water: u64_at(bytes, 40),
            txid: u64_at(bytes, 48),
        })
    }

    /// Bytes that the body must have.
    pub(crate) fn body(&self) -> u64 {
        self.high_water.saturating_mul(u64::from(self.page_size))
    }

    /// Reads both meta pages of a file; true when they are the pair that the snapshot RPC writes.
    pub(crate) fn of(file: &dyn ReadAt) -> Result<(Self, bool)> {
        let first = Self::at(file, 0, 0)?;
        let second = Self::at(file, u64::from(first.page_size), 1)?;
        let paired = second.txid.checked_add(1) == Some(first.txid)
            && (second.page_size, second.root, second.high_water)
                == (first.page_size, first.root, first.high_water);
        Ok((if second.txid > first.txid { second } else { first }, paired))
    }

    fn at(file: &dyn ReadAt, offset: u64, id: u64) -> Result<Self> {
        let mut bytes = [0; PAGE_HEADER + CHECKED + 8];
        file.read_at(offset, &mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::damaged(format!("the file ends before meta page {id}"))
            }
            _ => Error::local(format!("read meta page {id}"))(error),
        })?;
        let header = PageHeader::read(&bytes);
        if (header.id, header.flags) != (id, META) {
            return Err(Error::damaged(format!("page {id} is not a meta page")));
        }
        Self::read(&bytes[PAGE_HEADER..])
    }
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
