//! A WAL that nobody writes to any more, frame by frame over any `Read`.
//!
//! It stops at the first frame that is torn, of another generation or off the checksum chain, as recovery does.
//! Which frames are committed is for the caller to see: only those up to the last with `commit != 0` count.

use super::{Checksum, FRAME_HEADER, FrameHeader, HEADER, WalHeader};
use std::io::{self, Read};

/// Reads the valid frames of an offline WAL in order.
#[derive(Debug)]
pub struct WalReader<R> {
    inner: R,
    header: WalHeader,
    checksum: Checksum,
    frame: u32,
    buffer: Vec<u8>,
}

impl<R: Read> WalReader<R> {
    /// Reads the header. `Ok(None)` if the WAL is empty, torn within its header or has no valid one: then it
    /// holds no frame either.
    pub fn open(mut inner: R) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER];
        if read_full(&mut inner, &mut bytes)? < HEADER {
            return Ok(None);
        }
        Ok(WalHeader::parse(&bytes).map(|header| Self {
            inner,
            header,
            checksum: header.checksum,
            frame: 0,
            buffer: vec![0; FRAME_HEADER + header.page_size as usize],
        }))
    }

    /// The header of this WAL.
    pub fn header(&self) -> &WalHeader {
        &self.header
    }

    /// The number of the last frame returned, from 1; 0 before the first.
    pub fn frame(&self) -> u32 {
        self.frame
    }

    /// The next valid frame and its page; `None` at the end of the valid ones.
    pub fn next_frame(&mut self) -> io::Result<Option<(FrameHeader, &[u8])>> {
        if read_full(&mut self.inner, &mut self.buffer)? < self.buffer.len() {
            return Ok(None);
        }
        let header =
            FrameHeader::verify(&self.buffer, self.header.salts(), self.checksum, self.header.big_endian);
        Ok(header.map(|header| {
            self.checksum = header.checksum;
            self.frame += 1;
            (header, &self.buffer[FRAME_HEADER..])
        }))
    }
}

/// Bytes read before the end of the file, at most `into.len()`.
fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
