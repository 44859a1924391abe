//! Sealed files: a file with pages as an age file for recipients, and back (decision 0010, `docs/formats/sealed.md`).
//!
//! The data of a sealed file is its pages side by side, cut into zstd frames; which pages these are stands in skippable frames before each.
//! So the data of a snapshot is the database (P8). What a start has to know without a key is the clear part of the age header; the
//! rolling checksum is not in it, because two of them tell 63 bits of what changed in between.
//! Files without pages (claims) are never sealed: they hold nothing but the clear part.

mod clear;
mod reader;
mod writer;

pub(crate) use clear::{clear_part, header_of};
pub(crate) use reader::{agrees, decode, locked, opened_header};
pub(crate) use writer::SealedWriter;

/// Kind of the metadata that holds the LTX header; the first frame.
const HEADER: u8 = 0;
/// Kind of the metadata that names the pages of the block behind it: runs of first page and number of pages, 4 bytes each,
/// little-endian.
const PAGES: u8 = 1;

#[cfg(test)]
mod tests;
