//! Reading any part, in any order, from something that seeks.
//!
//! Opening reads the end of the object only: age proves there that nothing was cut off, the seek table says where each
//! block is. Every block is checked against its checksum in the table when it is read. What the table says is not
//! trusted: it comes from whoever wrote the object, so every offset and size is bounded before it is used (P7).
//! Memory: one block and its compressed form, 24 bytes per frame.

use crate::frame::{MAX_BLOCK_BYTES, Metadata, SKIPPABLE_HEADER, Start};
use crate::opening::{Clear, Unsealed};
use crate::table::{self, FOOTER_BYTES};
use crate::{Error, Identities};
use std::io::{Read, Seek, SeekFrom};
use zstd::bulk::Decompressor;

/// Seeks in a sealed object.
pub type SealedReader<R> = BlockSeeker<Unsealed<R>>;
/// Seeks in a plain object.
pub type PlainSeeker<R> = BlockSeeker<Clear<R>>;

/// A piece of data that is compressed on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Where its data begins in the whole data.
    pub offset: u64,
    /// Bytes of data.
    pub size: u32,
    stored: u32,
    at: u64,
    checksum: u32,
}

/// A piece of metadata that was not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataFrame {
    /// How many blocks are before it.
    pub blocks_before: usize,
    at: u64,
    stored: u32,
}

/// Reads blocks by number and data by offset; the two instances are [`SealedReader`] and [`PlainSeeker`].
pub struct BlockSeeker<R> {
    input: R,
    blocks: Vec<Block>,
    metadata: Vec<MetadataFrame>,
    size: u64,
    frame: Vec<u8>,
    cached: Option<usize>,
    block: Vec<u8>,
    failed: bool,
}

impl<R: Read + Seek> BlockSeeker<Unsealed<R>> {
    /// Reads the age header, the last chunk and the seek table.
    pub fn open(input: R, identities: &Identities) -> Result<Self, Error> {
        Self::begin(Unsealed::new(input, identities)?)
    }
}

impl<R: Read + Seek> BlockSeeker<Clear<R>> {
    /// Reads the seek table.
    pub fn open(input: R) -> Result<Self, Error> {
        Self::begin(Clear::new(input))
    }
}

impl<R: Read + Seek> BlockSeeker<R> {
    fn begin(mut input: R) -> Result<Self, Error> {
        let length = input.seek(SeekFrom::End(0)).map_err(Error::reading)?;
        let cut = || Error::Damaged("too short for a seek table".into());
        let footer_at = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(cut)?;
        let mut footer = [0; FOOTER_BYTES];
        read_at(&mut input, footer_at, &mut footer)?;
        let count = table::decode_footer(footer)?;
        let table_at = length.checked_sub(table::encoded_len(count) as u64).ok_or_else(cut)?;
        let mut frame = vec![0; table::encoded_len(count)];
        read_at(&mut input, table_at, &mut frame)?;
        let (mut blocks, mut metadata) = (Vec::new(), Vec::new());
        let (mut at, mut offset) = (0, 0);
        for entry in table::decode(&frame)? {
            if entry.size > 0 {
                blocks.push(Block {
                    offset,
                    size: entry.size,
                    stored: entry.stored,
                    at,
                    checksum: entry.checksum,
                });
            } else {
                metadata.push(MetadataFrame { blocks_before: blocks.len(), at, stored: entry.stored });
            }
            at += u64::from(entry.stored);
            offset += u64::from(entry.size);
        }
        if at != table_at {
            return Err(Error::Damaged("the seek table describes another length than the object has".into()));
        }
        let mut seeker = Self {
            input,
            blocks,
            metadata,
            size: offset,
            frame,
            cached: None,
            block: Vec::new(),
            failed: false,
        };
        // An object without data holds one empty frame, which is not metadata.
        if seeker.blocks.is_empty()
            && let Some(last) = seeker.metadata.last().copied()
            && seeker.frame_start(last.at, last.stored)? == Start::Data
        {
            seeker.metadata.pop();
        }
        Ok(seeker)
    }

    /// The blocks in the order of their data.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The pieces of metadata in their order.
    pub fn metadata(&self) -> &[MetadataFrame] {
        &self.metadata
    }

    /// Bytes of data.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The data of one block.
    pub fn read_block(&mut self, index: usize) -> Result<&[u8], Error> {
        if self.cached != Some(index) {
            let block = *self.blocks.get(index).ok_or_else(|| Error::Bounds(format!("no block {index}")))?;
            self.cached = None;
            if self.frame_start(block.at, block.stored)? != Start::Data {
                return Err(Error::Damaged(format!("block {index} is not a zstd frame")));
            }
            let tail = self.frame.last_chunk::<4>().map(|tail| u32::from_le_bytes(*tail));
            if tail != Some(block.checksum) {
                return Err(Error::Damaged(format!("block {index} does not match the seek table")));
            }
            self.block.clear();
            self.block.reserve_exact((block.size as usize).min(MAX_BLOCK_BYTES));
            let mut decompressor = Decompressor::new().map_err(Error::Io)?;
            let count = decompressor
                .decompress_to_buffer(&self.frame, &mut self.block)
                .map_err(|error| Error::Damaged(format!("block {index} does not decompress: {error}")))?;
            if count != block.size as usize {
                return Err(Error::Damaged(format!("block {index} has {count} bytes, not {}", block.size)));
            }
            self.cached = Some(index);
        }
        Ok(&self.block)
    }

    /// Fills `buffer` with data from `offset` on; fewer bytes only at the end of the data.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let from = offset.saturating_add(done as u64);
            if from >= self.size {
                break;
            }
            // Blocks are never empty, so the last one that begins at or before `from` holds it.
            let index = self.blocks.partition_point(|block| block.offset <= from) - 1;
            let within = (from - self.blocks[index].offset) as usize;
            let data = &self.read_block(index)?[within..];
            let count = data.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&data[..count]);
            done += count;
        }
        Ok(done)
    }

    /// One piece of metadata, by its number in [`Self::metadata`].
    pub fn read_metadata(&mut self, index: usize) -> Result<Metadata, Error> {
        let frame = *self.metadata.get(index).ok_or_else(|| Error::Bounds(format!("no metadata {index}")))?;
        let Start::Skippable(kind) = self.frame_start(frame.at, frame.stored)? else {
            return Err(Error::Damaged(format!("metadata {index} is an empty zstd frame")));
        };
        let stated = u32::from_le_bytes([self.frame[4], self.frame[5], self.frame[6], self.frame[7]]);
        let length = Metadata::check_length(kind, stated)?;
        if length + SKIPPABLE_HEADER != self.frame.len() {
            return Err(Error::Damaged(format!("metadata {index} contradicts the seek table")));
        }
        Metadata::decode(kind, self.frame[SKIPPABLE_HEADER..].to_vec())
    }

    /// Reads a whole frame, whose place and size were checked against the object's length, into `self.frame`.
    fn frame_start(&mut self, at: u64, stored: u32) -> Result<Start, Error> {
        if self.failed {
            return Err(Error::AfterError);
        }
        self.frame.resize(stored as usize, 0);
        // age keeps half a chunk after a failed read and would take the next one for damaged.
        self.failed = true;
        read_at(&mut self.input, at, &mut self.frame)?;
        self.failed = false;
        let head =
            self.frame.first_chunk::<5>().ok_or_else(|| Error::Damaged("a frame of a few bytes".into()))?;
        Start::read(*head)
    }
}

fn read_at<R: Read + Seek>(input: &mut R, at: u64, buffer: &mut [u8]) -> Result<(), Error> {
    input.seek(SeekFrom::Start(at)).map_err(Error::reading)?;
    input.read_exact(buffer).map_err(Error::reading)
}
