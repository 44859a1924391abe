//! Reading from the beginning to the end, once, from a stream.
//!
//! Data comes in pieces as it is decompressed, metadata and the ends of blocks at their places. The end is reported only
//! after the seek table was compared with what was read and nothing followed it: then the object is whole and unaltered.
//! Data is handed out before that, so a caller must not act on it (rename, commit) until the end has come.
//! Memory: 64 KiB in, 128 KiB out, zstd's window of at most 8 MiB, 12 bytes per frame (P7).

use crate::frame::{MAX_BLOCK_BYTES, MAX_FRAMES, Metadata, SKIPPABLE_HEADER, Start, TABLE_KIND, WINDOW_LOG};
use crate::opening::{Clear, Unsealed};
use crate::table::{self, CHECKSUM_OF_NOTHING, Entry};
use crate::{Error, Identities};
use std::io::{self, Read};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

const IN_BYTES: usize = 64 << 10;
const OUT_BYTES: usize = 128 << 10;

/// Reads a sealed object.
pub type Opener<R> = BlockReader<Unsealed<R>>;
/// Reads a plain object.
pub type PlainReader<R> = BlockReader<Clear<R>>;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Data of the current block.
    Data(&'a [u8]),
    /// The current block is over and matches its checksum.
    BlockEnd,
    /// Metadata between blocks.
    Metadata(Metadata),
}

/// Reads frames in their order; the two instances are [`Opener`] and [`PlainReader`].
pub struct BlockReader<R> {
    input: R,
    decoder: Decoder<'static>,
    buffer: Vec<u8>,
    /// What of `buffer` is read and not consumed.
    start: usize,
    end: usize,
    out: Vec<u8>,
    /// What of `out` is decompressed and not handed out by `Read`.
    out_start: usize,
    out_end: usize,
    entries: Vec<Entry>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Between,
    InFrame { stored: u64, size: u64, tail: [u8; 4], over: bool },
    Done,
    Failed,
}

enum Step {
    Data,
    BlockEnd,
    Metadata(Metadata),
    Done,
}

impl<R: Read> BlockReader<Unsealed<R>> {
    /// Reads the age header.
    pub fn new(input: R, identities: &Identities) -> Result<Self, Error> {
        Self::begin(Unsealed::new(input, identities)?)
    }
}

impl<R: Read> BlockReader<Clear<R>> {
    /// Reads nothing yet.
    pub fn new(input: R) -> Result<Self, Error> {
        Self::begin(Clear::new(input))
    }
}

impl<R: Read> BlockReader<R> {
    fn begin(input: R) -> Result<Self, Error> {
        let mut decoder = Decoder::new().map_err(Error::Io)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(Error::Io)?;
        Ok(Self {
            input,
            decoder,
            buffer: vec![0; IN_BYTES],
            start: 0,
            end: 0,
            out: vec![0; OUT_BYTES],
            out_start: 0,
            out_end: 0,
            entries: Vec::new(),
            state: State::Between,
        })
    }

    /// The next item; `None` when the whole object was read and proven.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Error> {
        if self.out_start == self.out_end {
            match self.step()? {
                Step::Data => {}
                Step::BlockEnd => return Ok(Some(Item::BlockEnd)),
                Step::Metadata(metadata) => return Ok(Some(Item::Metadata(metadata))),
                Step::Done => return Ok(None),
            }
        }
        let data = self.out_start..self.out_end;
        self.out_start = self.out_end;
        Ok(Some(Item::Data(&self.out[data])))
    }

    fn step(&mut self) -> Result<Step, Error> {
        let before = std::mem::replace(&mut self.state, State::Failed);
        match before {
            State::Between => self.begin_frame(),
            State::InFrame { stored, size, tail, over } => self.continue_frame(stored, size, tail, over),
            State::Done => {
                self.state = State::Done;
                Ok(Step::Done)
            }
            State::Failed => Err(Error::AfterError),
        }
    }

    fn begin_frame(&mut self) -> Result<Step, Error> {
        if self.entries.len() > MAX_FRAMES {
            return Err(Error::Damaged(format!("more than {MAX_FRAMES} frames")));
        }
        // Even the shortest frame, an empty zstd one, is longer than this.
        self.fill(SKIPPABLE_HEADER)?;
        let head = &self.buffer[self.start..self.start + SKIPPABLE_HEADER];
        match Start::read([head[0], head[1], head[2], head[3], head[4]])? {
            Start::Data => {
                self.decoder.reinit().map_err(Error::Io)?;
                self.continue_frame(0, 0, [0; 4], false)
            }
            Start::Skippable(kind) => {
                let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
                self.start += SKIPPABLE_HEADER;
                if kind == TABLE_KIND { self.end_object(length) } else { self.read_metadata(kind, length) }
            }
        }
    }

    /// Decompresses until there is something to hand out.
    fn continue_frame(&mut self, stored: u64, size: u64, tail: [u8; 4], over: bool) -> Result<Step, Error> {
        let (mut stored, mut tail) = (stored, tail);
        if over {
            self.push(Entry {
                stored: stored as u32,
                size: size as u32,
                checksum: u32::from_le_bytes(tail),
            })?;
            self.state = State::Between;
            return Ok(Step::BlockEnd);
        }
        loop {
            if self.start == self.end {
                self.fill(1)?;
            }
            let mut input = InBuffer::around(&self.buffer[self.start..self.end]);
            let mut output = OutBuffer::around(self.out.as_mut_slice());
            let result = self.decoder.run(&mut input, &mut output);
            let (consumed, produced) = (input.pos(), output.pos());
            let hint =
                result.map_err(|error| Error::Damaged(format!("a block does not decompress: {error}")))?;
            for byte in
                &self.buffer[(self.start + consumed).saturating_sub(4).max(self.start)..self.start + consumed]
            {
                tail = [tail[1], tail[2], tail[3], *byte];
            }
            self.start += consumed;
            stored += consumed as u64;
            let size = size + produced as u64;
            if size > MAX_BLOCK_BYTES as u64 || stored > u64::from(u32::MAX) {
                return Err(Error::Damaged(format!("a block of more than {MAX_BLOCK_BYTES} bytes")));
            }
            if hint == 0 || produced > 0 {
                let next = State::InFrame { stored, size, tail, over: hint == 0 };
                if produced == 0 {
                    return self.continue_frame(stored, size, tail, true);
                }
                self.state = next;
                (self.out_start, self.out_end) = (0, produced);
                return Ok(Step::Data);
            }
        }
    }

    fn read_metadata(&mut self, kind: u8, length: u32) -> Result<Step, Error> {
        let length = Metadata::check_length(kind, length)?;
        let content = self.take(length)?;
        let metadata = Metadata::decode(kind, content)?;
        self.push(Entry {
            stored: (SKIPPABLE_HEADER + length) as u32,
            size: 0,
            checksum: CHECKSUM_OF_NOTHING,
        })?;
        self.state = State::Between;
        Ok(Step::Metadata(metadata))
    }

    fn end_object(&mut self, length: u32) -> Result<Step, Error> {
        let expected = table::encode(&self.entries);
        let content = &expected[SKIPPABLE_HEADER..];
        if length as usize != content.len() || self.take(content.len())? != content {
            return Err(Error::Damaged("the seek table does not describe the blocks before it".into()));
        }
        if self.start != self.end || self.read_more()? != 0 {
            return Err(Error::Damaged("something follows the seek table".into()));
        }
        self.state = State::Done;
        Ok(Step::Done)
    }

    fn push(&mut self, entry: Entry) -> Result<(), Error> {
        self.entries.push(entry.check()?);
        Ok(())
    }

    /// Copies `length` bytes, which were bounded by the caller.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let mut taken = Vec::with_capacity(length);
        while taken.len() < length {
            if self.start == self.end {
                self.fill(1)?;
            }
            let count = (length - taken.len()).min(self.end - self.start);
            taken.extend_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
        }
        Ok(taken)
    }

    /// Makes sure that `count` bytes (fewer than the buffer) are there to be consumed.
    fn fill(&mut self, count: usize) -> Result<(), Error> {
        while self.end - self.start < count {
            if self.read_more()? == 0 {
                return Err(Error::Damaged("it ends before its seek table (truncated)".into()));
            }
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<usize, Error> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::reading(error)),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }
}

/// The data alone, as `zstd -d` would give it. The end comes only after the object was proven.
impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.out_start == self.out_end && !buffer.is_empty() {
            if let Step::Done = self.step()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.out_end - self.out_start);
        buffer[..count].copy_from_slice(&self.out[self.out_start..self.out_start + count]);
        self.out_start += count;
        Ok(count)
    }
}
