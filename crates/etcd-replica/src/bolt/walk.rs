//! Walking the B+tree: every bucket, every key, in order, and the proof that the structure holds.
//!
//! Checked on the way: every page referenced once, no id beyond the high water mark, only branch and leaf pages reachable, page
//! ids that match their place, elements inside their page, keys strictly ascending and inside the range that the parent
//! gives. bbolt has no checksum per page: a flipped bit inside a value is found by SHA-256, not here.
//! Memory: one page per level (at most 32), and one bit per page of the file (P7); pages are read into buffers of earlier ones.

use super::element::{IS_BUCKET, Page, branch, bucket_root, inline_page, last_of, leaf};
use super::{BRANCH, LEAF, Meta, PageHeader, ReadAt};
use crate::{Error, Result};
use std::cell::RefCell;

/// More levels than any tree of 2^64 keys has.
const MAX_DEPTH: usize = 32;
/// A page with its overflow is at most this: etcd's largest request is 1.5 MiB by default and 10 MiB in practice.
const MAX_SPAN: u64 = 128 << 20;

/// One key of one bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) bucket: &'a [u8],
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// What a whole walk has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Walked {
    pub(crate) pages: u64,
    pub(crate) entries: u64,
}

/// A larger buffer is given back to the system instead of being kept for the next page.
const SPARE: usize = 1 << 20;

/// An open file.
pub(crate) struct Tree<'a> {
    file: &'a dyn ReadAt,
    meta: Meta,
    /// Buffers of pages that are done: a new one for each page would cost more than what is done with it.
    spare: RefCell<Vec<Vec<u8>>>,
}

struct Walk<'w> {
    seen: Vec<u64>,
    walked: Walked,
    visit: &'w mut dyn FnMut(Entry<'_>) -> Result<()>,
    bucket_start: &'w mut dyn FnMut(&[u8]),
}

impl<'a> Tree<'a> {
    pub(crate) fn new(file: &'a dyn ReadAt, meta: Meta) -> Self {
        Self { file, meta, spare: RefCell::default() }
    }

    /// Visits everything: `bucket` once per bucket in the order of their names, `visit` for each of its keys.
    pub(crate) fn walk(
        &self,
        bucket: &mut dyn FnMut(&[u8]),
        visit: &mut dyn FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<Walked> {
        let words = usize::try_from(self.meta.high_water / 64 + 1).unwrap_or(usize::MAX);
        let mut walk = Walk { seen: vec![0; words], walked: Walked::default(), visit, bucket_start: bucket };
        self.page(&mut walk, self.meta.root, None, None, 0, None)?;
        Ok(walk.walked)
    }

    /// Visits one bucket; without it nothing. The rest of the file is not looked at.
    pub(crate) fn walk_bucket(
        &self,
        name: &[u8],
        visit: &mut dyn FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some((root, inline)) = self.find_bucket(name)? else { return Ok(()) };
        let words = usize::try_from(self.meta.high_water / 64 + 1).unwrap_or(usize::MAX);
        let mut walk =
            Walk { seen: vec![0; words], walked: Walked::default(), visit, bucket_start: &mut |_: &[u8]| {} };
        match inline {
            Some(bytes) => self.inline(&mut walk, name, &bytes),
            None => self.page(&mut walk, root, None, None, 0, Some(name)),
        }
    }

    /// The last key of a bucket, found by the right edge of its tree: a handful of pages are read.
    pub(crate) fn last_key(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some((root, inline)) = self.find_bucket(name)? else { return Ok(None) };
        if let Some(bytes) = inline {
            let page = inline_page(&bytes)?;
            return last_of(&page);
        }
        let mut id = root;
        for _ in 0..MAX_DEPTH {
            let page = self.load(id)?;
            if page.header.flags == LEAF {
                return last_of(&page);
            }
            id = match page.header.count.checked_sub(1) {
                Some(last) => branch(&page, usize::from(last))?.1,
                None => return Err(Error::damaged(format!("branch page {id} has no elements"))),
            };
        }
        Err(Error::damaged("the tree is deeper than 32 levels"))
    }

    /// Root page, or the image of an inline bucket.
    fn find_bucket(&self, name: &[u8]) -> Result<Option<(u64, Option<Vec<u8>>)>> {
        let mut id = self.meta.root;
        for _ in 0..MAX_DEPTH {
            let page = self.load(id)?;
            let count = usize::from(page.header.count);
            if page.header.flags == BRANCH {
                let mut next = None;
                for index in 0..count {
                    let (key, child) = branch(&page, index)?;
                    if index == 0 || key <= name {
                        next = Some(child);
                    }
                }
                id = next.ok_or_else(|| Error::damaged(format!("branch page {id} has no elements")))?;
                continue;
            }
            for index in 0..count {
                let (flags, key, value) = leaf(&page, index)?;
                if key == name && flags & IS_BUCKET != 0 {
                    let root = bucket_root(value)?;
                    return Ok(Some((root, (root == 0).then(|| value.to_vec()))));
                }
            }
            return Ok(None);
        }
        Err(Error::damaged("the tree is deeper than 32 levels"))
    }

    fn load(&self, id: u64) -> Result<Page> {
        if id < 2 || id >= self.meta.high_water {
            return Err(Error::damaged(format!(
                "page {id} is referenced, but the file has {}",
                self.meta.high_water
            )));
        }
        let size = u64::from(self.meta.page_size);
        let read = |offset, buffer: &mut [u8]| {
            self.file.read_at(offset, buffer).map_err(Error::local(format!("read page {id}")))
        };
        let mut bytes = self.spare.borrow_mut().pop().unwrap_or_default();
        bytes.resize(self.meta.page_size as usize, 0);
        read(id * size, &mut bytes)?;
        let header = PageHeader::read(&bytes);
        if header.id != id {
            return Err(Error::damaged(format!("page {id} says that it is page {}", header.id)));
        }
        if header.flags != BRANCH && header.flags != LEAF {
            return Err(Error::damaged(format!("page {id} is reachable and of kind {:#x}", header.flags)));
        }
        if header.overflow > 0 {
            let span = (u64::from(header.overflow) + 1) * size;
            if span > MAX_SPAN || id + u64::from(header.overflow) >= self.meta.high_water {
                return Err(Error::damaged(format!("page {id} claims {} further pages", header.overflow)));
            }
            bytes.resize(usize::try_from(span).expect("at most 128 MiB"), 0);
            read((id + 1) * size, &mut bytes[self.meta.page_size as usize..])?;
        }
        Ok(Page { header, bytes })
    }

    fn done(&self, page: Page) {
        if page.bytes.capacity() <= SPARE {
            self.spare.borrow_mut().push(page.bytes);
        }
    }

    fn page(
        &self,
        walk: &mut Walk<'_>,
        id: u64,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
        depth: usize,
        bucket: Option<&[u8]>,
    ) -> Result<()> {
        if depth >= MAX_DEPTH {
            return Err(Error::damaged("the tree is deeper than 32 levels"));
        }
        let page = self.load(id)?;
        walk.mark(id, page.header.overflow)?;
        if page.header.flags == LEAF {
            self.leaf(walk, &page, low, high, depth, bucket)?;
            self.done(page);
            return Ok(());
        }
        let count = usize::from(page.header.count);
        if count == 0 {
            return Err(Error::damaged(format!("branch page {id} has no elements")));
        }
        for index in 0..count {
            let (key, child) = branch(&page, index)?;
            let next = if index + 1 < count { Some(branch(&page, index + 1)?.0) } else { high };
            in_order(
                key,
                (index > 0).then(|| branch(&page, index - 1).map(|b| b.0)).transpose()?,
                low,
                high,
                id,
            )?;
            self.page(walk, child, Some(key), next, depth + 1, bucket)?;
        }
        self.done(page);
        Ok(())
    }

    fn leaf(
        &self,
        walk: &mut Walk<'_>,
        page: &Page,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
        depth: usize,
        bucket: Option<&[u8]>,
    ) -> Result<()> {
        let mut before: Option<&[u8]> = None;
        for index in 0..usize::from(page.header.count) {
            let (flags, key, value) = leaf(page, index)?;
            in_order(key, before, low, high, page.header.id)?;
            before = Some(key);
            match (bucket, flags & IS_BUCKET != 0) {
                (None, true) => {
                    (walk.bucket_start)(key);
                    match bucket_root(value)? {
                        0 => self.inline(walk, key, value)?,
                        root => self.page(walk, root, None, None, depth + 1, Some(key))?,
                    }
                }
                (Some(bucket), false) => {
                    walk.walked.entries += 1;
                    (walk.visit)(Entry { bucket, key, value })?;
                }
                (None, false) => return Err(Error::damaged("a key outside of all buckets")),
                (Some(_), true) => {
                    return Err(Error::damaged("a bucket within a bucket, which etcd never has"));
                }
            }
        }
        Ok(())
    }

    fn inline(&self, walk: &mut Walk<'_>, name: &[u8], value: &[u8]) -> Result<()> {
        let page = inline_page(value)?;
        self.leaf(walk, &page, None, None, MAX_DEPTH, Some(name))
    }
}

impl Walk<'_> {
    fn mark(&mut self, id: u64, overflow: u32) -> Result<()> {
        for id in id..=id + u64::from(overflow) {
            let (word, bit) = ((id / 64) as usize, 1u64 << (id % 64));
            if self.seen[word] & bit != 0 {
                return Err(Error::damaged(format!("page {id} is referenced twice")));
            }
            self.seen[word] |= bit;
            self.walked.pages += 1;
        }
        Ok(())
    }
}

fn in_order(
    key: &[u8],
    before: Option<&[u8]>,
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    id: u64,
) -> Result<()> {
    let ordered = before.is_none_or(|before| before < key);
    let inside = low.is_none_or(|low| low <= key) && high.is_none_or(|high| key < high);
    if ordered && inside {
        Ok(())
    } else {
        Err(Error::damaged(format!("the keys of page {id} are not in order")))
    }
}
