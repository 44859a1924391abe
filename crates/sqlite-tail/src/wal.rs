//! The WAL file format: header, frames and the running checksum, without any opinion on locks.
//!
//! Facts are in SQLite's `walformat` page. Numbers in the file are big-endian; the words a checksum adds up are
//! little- or big-endian as the magic says. A frame is valid if its salts are the header's and its checksum
//! continues the chain; what lies behind the first invalid frame is left over from an older generation.
//! Nothing here knows which valid frames are committed and published: that is the wal-index's word.

mod checksum;
mod frame;
mod header;
mod reader;

pub use checksum::Checksum;
pub use frame::FrameHeader;
pub use header::WalHeader;
pub use reader::WalReader;

/// Bytes of the WAL header.
pub const HEADER: usize = 32;
/// Bytes of a frame header; the page follows it.
pub const FRAME_HEADER: usize = 24;

/// A power of two from 512 to 65,536.
pub fn is_page_size(bytes: u32) -> bool {
    (512..=65_536).contains(&bytes) && bytes.is_power_of_two()
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
