//! Writing: data is cut into blocks, each block becomes one zstd frame, and the seek table closes the object.
//!
//! A block is compressed at once when it is full, when [`BlockWriter::end_block`] says so, or before metadata. So memory
//! is one block, its compressed form and age's 64 KiB chunk. An object is complete only after
//! [`BlockWriter::finish`]; one that was dropped before is detected as truncated by every reader.

use crate::frame::{MAX_BLOCK_BYTES, MAX_FRAMES, Metadata};
use crate::sealing::{ClearSink, Payload, SealedSink};
use crate::table::{self, CHECKSUM_OF_NOTHING, Entry};
use crate::{ClearPart, Error, Recipients};
use std::io::{self, Write};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

/// How data is cut and compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// zstd level, 1 to 19.
    pub level: i32,
    /// Uncompressed bytes after which a block ends by itself, 1 to [`MAX_BLOCK_BYTES`].
    pub block_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { level: 3, block_bytes: 1 << 20 }
    }
}

/// Writes an object that only the recipients can open.
pub type Sealer<W> = BlockWriter<SealedSink<W>>;
/// Writes an object that everyone can open.
pub type PlainWriter<W> = BlockWriter<ClearSink<W>>;

/// Writes blocks and metadata; the two instances are [`Sealer`] and [`PlainWriter`].
#[must_use = "an object is complete only after finish"]
pub struct BlockWriter<P> {
    payload: P,
    compressor: Compressor<'static>,
    block: Vec<u8>,
    frame: Vec<u8>,
    block_bytes: usize,
    entries: Vec<Entry>,
    has_data: bool,
    failed: bool,
}

impl<W: Write> BlockWriter<SealedSink<W>> {
    /// Begins a sealed object.
    pub fn new(output: W, recipients: &Recipients, options: Options) -> Result<Self, Error> {
        Self::begin(SealedSink::new(output, None, recipients)?, options)
    }

    /// As [`Sealer::new`], with words that everyone can read before the rest.
    pub fn with_clear(
        output: W,
        clear: &ClearPart,
        recipients: &Recipients,
        options: Options,
    ) -> Result<Self, Error> {
        Self::begin(SealedSink::new(output, Some(clear), recipients)?, options)
    }
}

impl<W: Write> BlockWriter<ClearSink<W>> {
    /// Begins a plain object.
    pub fn new(output: W, options: Options) -> Result<Self, Error> {
        Self::begin(ClearSink(output), options)
    }
}

impl<P: Payload> BlockWriter<P> {
    fn begin(payload: P, options: Options) -> Result<Self, Error> {
        let Options { level, block_bytes } = options;
        if !(1..=19).contains(&level) {
            return Err(Error::Bounds(format!("zstd level {level} (1 to 19)")));
        }
        if !(1..=MAX_BLOCK_BYTES).contains(&block_bytes) {
            return Err(Error::Bounds(format!("blocks of {block_bytes} bytes (1 to {MAX_BLOCK_BYTES})")));
        }
        let mut compressor = Compressor::new(level).map_err(Error::Io)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(Error::Io)?;
        Ok(Self {
            payload,
            compressor,
            block: Vec::new(),
            frame: Vec::new(),
            block_bytes,
            entries: Vec::new(),
            has_data: false,
            failed: false,
        })
    }

    /// Adds data to the current block.
    pub fn data(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let count = bytes.len().min(self.block_bytes - self.block.len());
            let (now, later) = bytes.split_at(count);
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == self.block_bytes {
                self.end_block()?;
            }
        }
        self.usable()
    }

    /// Ends the current block; without data in it nothing happens.
    pub fn end_block(&mut self) -> Result<(), Error> {
        if self.block.is_empty() { self.usable() } else { self.write_block() }
    }

    /// Adds metadata, which `zstd -d` skips; ends the current block.
    pub fn metadata(&mut self, kind: u8, bytes: &[u8]) -> Result<(), Error> {
        self.end_block()?;
        self.frame = Metadata::encode(kind, bytes)?;
        self.write_frame(0, CHECKSUM_OF_NOTHING)
    }

    /// Number of frames so far; the position of the next block in the seek table.
    pub fn frames(&self) -> usize {
        self.entries.len()
    }

    /// Completes the object and gives the output back.
    pub fn finish(mut self) -> Result<P::Output, Error> {
        self.end_block()?;
        if !self.has_data {
            // Not every decompressor takes an object of skippable frames alone for an empty one.
            self.write_block()?;
        }
        self.payload.write_all(&table::encode(&self.entries)).map_err(Error::Io)?;
        self.payload.close().map_err(Error::Io)
    }

    fn write_block(&mut self) -> Result<(), Error> {
        self.usable()?;
        self.frame.clear();
        self.frame.reserve(compress_bound(self.block.len()));
        self.compressor.compress_to_buffer(&self.block, &mut self.frame).map_err(Error::Io)?;
        let size = self.block.len() as u32;
        self.block.clear();
        self.has_data = true;
        // The frame ends with zstd's own checksum of its content, which is the one that the table wants.
        let tail = self.frame.last_chunk::<4>().map_or(0, |tail| u32::from_le_bytes(*tail));
        self.write_frame(size, tail)
    }

    fn write_frame(&mut self, size: u32, checksum: u32) -> Result<(), Error> {
        self.usable()?;
        if self.entries.len() == MAX_FRAMES {
            self.failed = true;
            return Err(Error::Bounds(format!("more than {MAX_FRAMES} frames; use larger blocks")));
        }
        self.failed = true;
        self.payload.write_all(&self.frame).map_err(Error::Io)?;
        self.failed = false;
        self.entries.push(Entry { stored: self.frame.len() as u32, size, checksum });
        Ok(())
    }

    fn usable(&self) -> Result<(), Error> {
        if self.failed { Err(Error::AfterError) } else { Ok(()) }
    }
}

impl<P: Payload> Write for BlockWriter<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.data(bytes)?;
        Ok(bytes.len())
    }

    /// Does not end the block: that would let a caller's habit decide the block size.
    fn flush(&mut self) -> io::Result<()> {
        self.payload.flush()
    }
}
