//! LTX files: the bytes in which a SQLite replica stores sets of pages.
//!
//! An LTX file holds the pages that changed between two transaction ids, each compressed with LZ4,
//! followed by an index and a checksum over everything. The layout is the one of Litestream 0.5,
//! so that either tool can continue a replica the other one began (`docs/formats/ltx.md`).
//!
//! Kept here:
//! - **P2**: no page leaves a decoder unproven for long. The end of every file proves all of its
//!   pages: checksum, index and page order must agree, or the whole file is an error.
//! - **P7**: memory is bounded by the page size (and by the number of inputs of a merge), never by
//!   a length read from a file. The one thing that grows, three bytes per page for the index of a
//!   file being written, goes to a [`Spool`] of the caller's choice.
//! - **P8**: the format is written down byte by byte and needs nothing but LZ4 to be read.
//!
//! This crate knows no files, no SQLite, no stores and no async: plain code over `Read`, `Write`
//! and slices.

pub mod checksum;
mod database;
mod decoder;
mod echo;
mod encoder;
mod error;
mod extension;
mod header;
mod index;
mod lz4_frame;
mod merge;
mod name;
mod page;
mod page_size;
mod piece;
mod sequence;
mod spool;
mod trailer;
mod txid;
mod varint;
mod whole;
mod window;

pub use database::decode_database;
pub use decoder::Decoder;
pub use echo::IndexDigest;
pub use encoder::{Encoder, Summary};
pub use error::{Class, Error, Result};
pub use extension::Extension;
pub use header::{DecodedHeader, HEADER_SIZE, Header};
pub use index::{IndexEntry, IndexReader, IndexTail, parse_index_tail};
pub use merge::{Stamp, merge, merge_with};
pub use name::FileName;
pub use page::{PageEncoding, PageFrame, decode_page, max_page_frame};
pub use page_size::PageSize;
pub use piece::{Piece, decode_run, verify_parts, verify_pieces};
pub use spool::{MemorySpool, SeekSpool, Spool};
pub use trailer::{TRAILER_SIZE, Trailer};
pub use txid::Txid;
pub use whole::decode_whole;
