//! The elements of a page: keys, values, children, buckets. Everything that points out of its page is damage.

use super::{LEAF, PAGE_HEADER, PageHeader, u32_at, u64_at};
use crate::{Error, Result};

const ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;
/// Flag of a leaf element whose value is a bucket.
pub(super) const IS_BUCKET: u32 = 1;

/// A page with its overflow, in memory.
pub(super) struct Page {
    pub(super) header: PageHeader,
    pub(super) bytes: Vec<u8>,
}

/// Root page of a bucket; 0 for one that lies inline in its own value.
pub(super) fn bucket_root(value: &[u8]) -> Result<u64> {
    if value.len() < BUCKET_HEADER {
        return Err(Error::damaged("a bucket without its header"));
    }
    Ok(u64_at(value, 0))
}

/// The page of an inline bucket.
pub(super) fn inline_page(value: &[u8]) -> Result<Page> {
    let bytes = value.get(BUCKET_HEADER..).filter(|bytes| bytes.len() >= PAGE_HEADER);
    let bytes = bytes.ok_or_else(|| Error::damaged("an inline bucket without a page"))?.to_vec();
    let header = PageHeader::read(&bytes);
    if header.flags != LEAF {
        return Err(Error::damaged("an inline bucket that is not a leaf"));
    }
    Ok(Page { header, bytes })
}

/// The last key of a leaf.
pub(super) fn last_of(page: &Page) -> Result<Option<Vec<u8>>> {
    match page.header.count.checked_sub(1) {
        Some(last) => Ok(Some(leaf(page, usize::from(last))?.1.to_vec())),
        None => Ok(None),
    }
}

/// Key and child of a branch element.
pub(super) fn branch(page: &Page, index: usize) -> Result<(&[u8], u64)> {
    let at = PAGE_HEADER + index * ELEMENT;
    let element = page.bytes.get(at..at + ELEMENT).ok_or_else(|| beyond(page))?;
    let (pos, size) = (u32_at(element, 0), u32_at(element, 4));
    Ok((slice(page, at, pos, size)?, u64_at(element, 8)))
}

/// Flags, key and value of a leaf element.
pub(super) fn leaf(page: &Page, index: usize) -> Result<(u32, &[u8], &[u8])> {
    let at = PAGE_HEADER + index * ELEMENT;
    let element = page.bytes.get(at..at + ELEMENT).ok_or_else(|| beyond(page))?;
    let (pos, ksize, vsize) = (u32_at(element, 4), u32_at(element, 8), u32_at(element, 12));
    let all = slice(page, at, pos, ksize.checked_add(vsize).ok_or_else(|| beyond(page))?)?;
    let (key, value) = all.split_at(ksize as usize);
    Ok((u32_at(element, 0), key, value))
}

/// Bytes at `pos` behind the element that stands at `at`.
fn slice(page: &Page, at: usize, pos: u32, size: u32) -> Result<&[u8]> {
    let start = at + pos as usize;
    page.bytes.get(start..start + size as usize).ok_or_else(|| beyond(page))
}

fn beyond(page: &Page) -> Error {
    Error::damaged(format!("an element of page {} lies beyond its end", page.header.id))
}
