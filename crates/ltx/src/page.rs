//! One page of a file: page number, flags, compressed content.
//!
//! Two encodings exist inside one format version, told apart by a flag in front of each page.
//! Litestream reads frames since 0.5.0 and blocks only since 0.5.16, so frames are the default
//! here: whatever we write, every 0.5 restores. Reading takes both, even mixed in one file.
//!
//! P7: a frame is never longer than [`max_page_frame`]; whatever claims to be is refused.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::error::{Error, Result};
use crate::lz4_frame::{self, Fault};
use crate::page_size::PageSize;

/// Page number and flags, in front of every page.
pub(crate) const PAGE_HEADER: usize = 6;
/// Stands where a page header would, after the last page.
pub(crate) const END_OF_PAGES: [u8; PAGE_HEADER] = [0; PAGE_HEADER];
/// The length that precedes a block.
const BLOCK_LEN: usize = 4;
const FLAG_BLOCK: u16 = 1;

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum PageEncoding {
    /// LZ4 frame with content checksum; readable by every Litestream 0.5.
    #[default]
    Frame,
    /// Bare LZ4 block; readable by Litestream 0.5.16 and later, 15 bytes smaller per page.
    Block,
}

/// A decoded page frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFrame {
    /// Page number, from 1. Whether it fits the database and its neighbours is for the caller to say.
    pub pgno: u32,
    /// Flags as stored: 0 for a frame, 1 for a block.
    pub flags: u16,
    /// Bytes of the whole frame.
    pub consumed: usize,
    /// How many bytes at the front of the frame belong to the file checksum, followed there by the
    /// page: 6, or 10 with the length of a block.
    pub hashed_prefix: usize,
    /// The very bytes an encoder of this crate could have written, fit to be passed on.
    pub(crate) canonical: bool,
}

impl PageFrame {
    /// How the page is compressed.
    pub fn encoding(&self) -> PageEncoding {
        if self.flags & FLAG_BLOCK == 0 { PageEncoding::Frame } else { PageEncoding::Block }
    }
}

/// The longest page frame that is accepted, in bytes.
///
/// Twice the page and 1 KiB: room for any sane choice of blocks inside an LZ4 frame.
pub const fn max_page_frame(page_size: PageSize) -> usize {
    2 * page_size.bytes() + 1024
}

/// Decodes the page frame at the front of `buf` into `out`, one page long.
///
/// Offsets in errors count from the start of `buf`. Bytes after the frame are not looked at.
pub fn decode_page(buf: &[u8], page_size: PageSize, out: &mut [u8]) -> Result<PageFrame> {
    decode_page_at(buf, 0, page_size, out)
}

/// As [`decode_page`], for a `buf` that begins at `offset` in the file.
pub(crate) fn decode_page_at(
    buf: &[u8],
    offset: u64,
    page_size: PageSize,
    out: &mut [u8],
) -> Result<PageFrame> {
    let longest = max_page_frame(page_size);
    let view = &buf[..buf.len().min(longest)];
    let Some(([p0, p1, p2, p3, f0, f1], body)) = view.split_first_chunk::<PAGE_HEADER>() else {
        return Err(Error::Truncated { offset: offset + view.len() as u64 });
    };
    let pgno = u32::from_be_bytes([*p0, *p1, *p2, *p3]);
    let flags = u16::from_be_bytes([*f0, *f1]);
    let fail = |rule| Error::Page { pgno, offset, rule };
    if out.len() != page_size.bytes() {
        return Err(Error::Encode { pgno, rule: "the buffer is not one page long" });
    }
    if pgno == 0 {
        return Err(fail("page number 0"));
    }
    let decoded =
        match flags {
            0 => lz4_frame::decode(body, out)
                .map(|frame| (PAGE_HEADER + frame.len, PAGE_HEADER, frame.canonical)),
            FLAG_BLOCK => decode_block(body, out)
                .map(|len| (PAGE_HEADER + BLOCK_LEN + len, PAGE_HEADER + BLOCK_LEN, true)),
            _ => Err(Fault::Rule("unknown page flags")),
        };
    match decoded {
        Ok((consumed, hashed_prefix, canonical)) => {
            Ok(PageFrame { pgno, flags, consumed, hashed_prefix, canonical })
        }
        Err(Fault::Rule(rule)) => Err(fail(rule)),
        Err(Fault::Short) if view.len() == longest => Err(fail("page frame is too long")),
        Err(Fault::Short) => Err(Error::Truncated { offset: offset + view.len() as u64 }),
    }
}

/// Returns the length of the block, without its length field.
fn decode_block(body: &[u8], out: &mut [u8]) -> std::result::Result<usize, Fault> {
    let (len, rest) = body.split_first_chunk::<BLOCK_LEN>().ok_or(Fault::Short)?;
    let len = u32::from_be_bytes(*len) as usize;
    let block = rest.get(..len).ok_or(Fault::Short)?;
    match decompress_into(block, out) {
        Ok(n) if n == out.len() => Ok(len),
        Ok(_) => Err(Fault::Rule("LZ4 block is shorter than a page")),
        Err(e) => Err(lz4_frame::fault(e)),
    }
}

/// Turns pages into page frames, reusing one buffer and one hash table.
pub(crate) struct PageWriter {
    page_size: PageSize,
    encoding: PageEncoding,
    table: CompressTable,
    out: Box<[u8]>,
}

impl PageWriter {
    pub(crate) fn new(page_size: PageSize, encoding: PageEncoding) -> PageWriter {
        let room = PAGE_HEADER + lz4_frame::OVERHEAD + get_maximum_output_size(page_size.bytes());
        PageWriter {
            page_size,
            encoding,
            table: CompressTable::default(),
            out: vec![0; room].into_boxed_slice(),
        }
    }

    pub(crate) fn encoding(&self) -> PageEncoding {
        self.encoding
    }

    /// The frame of a page, and how many of its first bytes are hashed.
    pub(crate) fn encode(&mut self, pgno: u32, page: &[u8]) -> Result<(&[u8], usize)> {
        let fail = |rule| Error::Encode { pgno, rule };
        if page.len() != self.page_size.bytes() {
            return Err(fail("the page is not one page long"));
        }
        self.out[..4].copy_from_slice(&pgno.to_be_bytes());
        let (flags, len, prefix) = match self.encoding {
            PageEncoding::Frame => {
                let len =
                    lz4_frame::encode(page, &mut self.out[PAGE_HEADER..], &mut self.table).map_err(fail)?;
                (0, PAGE_HEADER + len, PAGE_HEADER)
            }
            PageEncoding::Block => {
                const BODY: usize = PAGE_HEADER + BLOCK_LEN;
                let len = compress_into_with_table(page, &mut self.out[BODY..], &mut self.table)
                    .map_err(|_| fail("page does not fit its compression buffer"))?;
                self.out[PAGE_HEADER..BODY].copy_from_slice(&(len as u32).to_be_bytes());
                (FLAG_BLOCK, BODY + len, BODY)
            }
        };
        self.out[4..PAGE_HEADER].copy_from_slice(&flags.to_be_bytes());
        Ok((&self.out[..len], prefix))
    }
}
