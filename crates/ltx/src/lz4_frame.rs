//! One page in an LZ4 *frame* container.
//!
//! Written: exactly the bytes that every Litestream 0.5 reads, including the content checksum, which
//! 0.5.16 and later insist on (a frame without it fails there with "expected lz4 end frame").
//! Read: every legal LZ4 frame without a dictionary (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>),
//! of one or several blocks, linked or not, with or without checksums and content size.
//!
//! Decoding writes into the page itself and allocates nothing (P7).

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, decompress_into_with_dict};
use twox_hash::XxHash32;

/// Magic, flags (version 1, independent blocks, content checksum), blocks of at most 64 KiB,
/// checksum of these flags.
const PREAMBLE: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7];
/// Preamble, block size, end mark, content checksum.
pub(crate) const OVERHEAD: usize = PREAMBLE.len() + 12;
const STORED: u32 = 1 << 31;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1;

/// Why bytes are not a frame that holds a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They end too early.
    Short,
    /// They break this rule.
    Rule(&'static str),
}

/// A decoded frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes of the frame.
    pub(crate) len: usize,
    /// Container as we write it; anything else is re-encoded before it is passed on.
    pub(crate) canonical: bool,
}

fn hash(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// Writes the frame of `page` to the front of `out`, which must hold [`OVERHEAD`] and the largest
/// LZ4 block of a page. Returns the length of the frame.
pub(crate) fn encode(page: &[u8], out: &mut [u8], table: &mut CompressTable) -> Result<usize, &'static str> {
    const BODY: usize = PREAMBLE.len() + 4;
    out[..PREAMBLE.len()].copy_from_slice(&PREAMBLE);
    let packed = compress_into_with_table(page, &mut out[BODY..], table)
        .map_err(|_| "page does not fit its compression buffer")?;
    let (len, mark) = if packed < page.len() {
        (packed, packed as u32)
    } else {
        out[BODY..BODY + page.len()].copy_from_slice(page);
        (page.len(), page.len() as u32 | STORED)
    };
    out[PREAMBLE.len()..BODY].copy_from_slice(&mark.to_le_bytes());
    let end = BODY + len;
    out[end..end + 4].fill(0);
    out[end + 4..end + 8].copy_from_slice(&hash(page).to_le_bytes());
    Ok(end + 8)
}

/// Decodes the frame at the front of `buf` into `page`, which it must fill exactly.
pub(crate) fn decode(buf: &[u8], page: &mut [u8]) -> Result<Frame, Fault> {
    let mut cursor = Cursor { buf, at: 0 };
    let plan = Descriptor::read(&mut cursor)?;
    let mut filled = 0;
    let mut blocks = 0u32;
    loop {
        let mark = cursor.u32_le()?;
        if mark == 0 {
            break;
        }
        let len = (mark & !STORED) as usize;
        if len == 0 || len > plan.block_max {
            return Err(Fault::Rule("LZ4 block size out of range"));
        }
        let block = cursor.take(len)?;
        if plan.flags & BLOCK_CHECKSUM != 0 && cursor.u32_le()? != hash(block) {
            return Err(Fault::Rule("LZ4 block checksum differs"));
        }
        let (before, room) = page.split_at_mut(filled);
        filled += if mark & STORED != 0 {
            room.get_mut(..len).ok_or(Fault::Rule(TOO_LONG))?.copy_from_slice(block);
            len
        } else if plan.flags & INDEPENDENT != 0 || before.is_empty() {
            decompress_into(block, room).map_err(fault)?
        } else {
            decompress_into_with_dict(block, room, before).map_err(fault)?
        };
        blocks = blocks.saturating_add(1);
    }
    if filled != page.len() {
        return Err(Fault::Rule("LZ4 frame is shorter than a page"));
    }
    if plan.flags & CONTENT_CHECKSUM != 0 && cursor.u32_le()? != hash(page) {
        return Err(Fault::Rule("LZ4 content checksum differs"));
    }
    Ok(Frame { len: cursor.at, canonical: blocks == 1 && buf.starts_with(&PREAMBLE) })
}

const TOO_LONG: &str = "LZ4 data is longer than a page";

/// The fault behind an error of the block decoder.
pub(crate) fn fault(error: lz4_flex::block::DecompressError) -> Fault {
    match error {
        lz4_flex::block::DecompressError::OutputTooSmall { .. } => Fault::Rule(TOO_LONG),
        _ => Fault::Rule("LZ4 block is malformed"),
    }
}

/// What the head of a frame says about the rest.
struct Descriptor {
    flags: u8,
    block_max: usize,
}

impl Descriptor {
    fn read(cursor: &mut Cursor<'_>) -> Result<Descriptor, Fault> {
        if cursor.buf.starts_with(&PREAMBLE) {
            cursor.at = PREAMBLE.len();
            return Ok(Descriptor { flags: PREAMBLE[4], block_max: 64 * 1024 });
        }
        if cursor.take(4)? != &PREAMBLE[..4] {
            return Err(Fault::Rule("no LZ4 frame"));
        }
        let described = cursor.at;
        let &[flags, sizes] = cursor.take(2)? else { return Err(Fault::Short) };
        if flags & VERSION_MASK != VERSION || flags & RESERVED != 0 || sizes & 0b1000_1111 != 0 {
            return Err(Fault::Rule("unknown LZ4 frame version"));
        }
        if flags & DICTIONARY != 0 {
            return Err(Fault::Rule("LZ4 frame needs a dictionary"));
        }
        let block_max = match sizes >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(Fault::Rule("unknown LZ4 block size")),
        };
        if flags & CONTENT_SIZE != 0 {
            // Not believed: the page says how long its content is.
            cursor.take(8)?;
        }
        let expected = (hash(&cursor.buf[described..cursor.at]) >> 8) as u8;
        if cursor.take(1)? != [expected] {
            return Err(Fault::Rule("LZ4 frame header checksum differs"));
        }
        Ok(Descriptor { flags, block_max })
    }
}

/// Reads on in a slice.
struct Cursor<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let bytes = self.buf.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(Fault::Short)?;
        self.at += len;
        Ok(bytes)
    }

    fn u32_le(&mut self) -> Result<u32, Fault> {
        let bytes = self.take(4)?.first_chunk().ok_or(Fault::Short)?;
        Ok(u32::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests;
