//! The one member of a K3s zip snapshot.
//!
//! K3s writes one deflated member. Two of them, other methods and sizes that do not agree are refused instead of guessed at;
//! the checksum of the directory is compared with what was read. Facts: the ZIP application note, §4.3.
//! What it does not do: zip64 (a snapshot beyond 4 GiB; etcd advises against 8), names, several members.

use crate::{Error, Result};
use crc_fast::{CrcAlgorithm, Digest};
use flate2::read::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

const END: usize = 22;
const CENTRAL: usize = 46;
const LOCAL: usize = 30;
/// A comment may follow the end record.
const MAX_COMMENT: u64 = 65_535;

enum Data {
    Deflated(DeflateDecoder<Take<BufReader<File>>>),
    Stored(Take<BufReader<File>>),
}

/// The content of the member, and what it must be.
pub(crate) struct ZipMember {
    data: Data,
    size: u64,
    crc: u32,
    seen: u64,
    digest: Digest,
    place: String,
}

impl ZipMember {
    pub(crate) fn open(mut file: File, place: &str) -> Result<Self> {
        let broken = |what: &str| Error::Damaged(format!("{place}: {what}"));
        let reading = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => broken("the zip is truncated"),
            _ => Error::local(format!("read {place}"))(error),
        };
        let length = file.seek(SeekFrom::End(0)).map_err(reading)?;
        let tail_at = length.saturating_sub(END as u64 + MAX_COMMENT);
        file.seek(SeekFrom::Start(tail_at)).map_err(reading)?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).map_err(reading)?;
        let end = tail.windows(4).rposition(|window| window == b"PK\x05\x06");
        let end = end
            .and_then(|at| tail.get(at..at + END))
            .ok_or_else(|| broken("the zip has no directory: truncated"))?;
        let members = u16::from_le_bytes([end[10], end[11]]);
        if members != 1 {
            return Err(Error::Refused(format!("{place} has {members} members; a K3s snapshot has one")));
        }
        let number =
            |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let mut central = [0; CENTRAL];
        file.seek(SeekFrom::Start(u64::from(number(end, 16)))).map_err(reading)?;
        file.read_exact(&mut central).map_err(reading)?;
        let (crc, stored, size, local_at) =
            (number(&central, 16), number(&central, 20), number(&central, 24), number(&central, 42));
        if central[..4] != *b"PK\x01\x02" {
            return Err(broken("the directory of the zip is damaged"));
        }
        if [stored, size, local_at].contains(&u32::MAX) {
            return Err(Error::Refused(format!("{place} is a zip64; unpack it and give the file itself")));
        }
        let mut local = [0; LOCAL];
        file.seek(SeekFrom::Start(u64::from(local_at))).map_err(reading)?;
        file.read_exact(&mut local).map_err(reading)?;
        if local[..4] != *b"PK\x03\x04" {
            return Err(broken("the zip's member is damaged"));
        }
        // The lengths of the name and of what follows it; their sum has more bits than each.
        let [name, extra] = [26, 28].map(|at| i64::from(u16::from_le_bytes([local[at], local[at + 1]])));
        file.seek(SeekFrom::Current(name + extra)).map_err(reading)?;
        let bytes = BufReader::with_capacity(128 << 10, file).take(u64::from(stored));
        let data = match u16::from_le_bytes([central[10], central[11]]) {
            8 => Data::Deflated(DeflateDecoder::new(bytes)),
            0 => Data::Stored(bytes),
            method => {
                return Err(Error::Refused(format!(
                    "{place} is compressed with method {method}; deflate is known"
                )));
            }
        };
        let digest = Digest::new(CrcAlgorithm::Crc32IsoHdlc);
        Ok(Self { data, size: u64::from(size), crc, seen: 0, digest, place: place.to_owned() })
    }

    /// Bytes that the directory promises.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Compares what was read with the directory.
    pub(crate) fn finish(self) -> Result<()> {
        if self.seen == self.size && self.digest.finalize() == u64::from(self.crc) {
            return Ok(());
        }
        Err(Error::Damaged(format!("{}: the member of the zip does not match its directory", self.place)))
    }
}

impl Read for ZipMember {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.data {
            Data::Deflated(data) => data.read(buffer)?,
            Data::Stored(data) => data.read(buffer)?,
        };
        self.seen += count as u64;
        if self.seen > self.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the zip's member is longer than its directory says",
            ));
        }
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}
