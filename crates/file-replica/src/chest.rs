//! Objects as bytes: sealed for recipients, or plain; opened with identities, or without.
//!
//! A thin layer over `seal`. Stored bytes are held in memory where an object is bounded (P7: packs and manifests); what is inside is not:
//! a manifest passes between its entries and its stored bytes as a stream. What was written plain is opened plain whatever
//! identities are at hand; what was sealed needs one.

use crate::entry::Digest;
use crate::{Error, Result};
use seal::{Identities, Opener, Options, PlainReader, PlainWriter, Protection, Sealer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufReader, BufWriter, Read, Write};

/// Bytes that JSON is written and read by.
const BUFFER: usize = 32 << 10;

/// A writer of one object; the bytes come out of `finish`.
pub(crate) enum Chest<W: Write> {
    Sealed(Sealer<W>),
    Plain(PlainWriter<W>),
}

impl<W: Write> Chest<W> {
    pub(crate) fn new(output: W, protection: &Protection) -> Result<Self, seal::Error> {
        Ok(match protection {
            Protection::Sealed(to) => Chest::Sealed(Sealer::new(output, to, Options::default())?),
            Protection::Plain => Chest::Plain(PlainWriter::new(output, Options::default())?),
        })
    }

    pub(crate) fn finish(self) -> Result<W, seal::Error> {
        match self {
            Chest::Sealed(writer) => writer.finish(),
            Chest::Plain(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Chest<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Chest::Sealed(writer) => writer.write(bytes),
            Chest::Plain(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A document as a whole object.
pub(crate) fn close(document: &impl Serialize, protection: &Protection, place: &str) -> Result<Vec<u8>> {
    let io = |e| Error::seal(place)(seal::Error::Io(e));
    let chest = Chest::new(Vec::new(), protection).map_err(Error::seal(place))?;
    let mut out = BufWriter::with_capacity(BUFFER, chest);
    serde_json::to_writer(&mut out, document).map_err(|e| io(e.into()))?;
    let chest = out.into_inner().map_err(|e| io(e.into_error()))?;
    chest.finish().map_err(Error::seal(place))
}

/// Reads an object; the end is reported only after all of it was proven.
pub(crate) fn open<'a, R: Read + 'a>(
    input: R,
    sealed: bool,
    identities: Option<&Identities>,
    place: &str,
) -> Result<Box<dyn Read + 'a>> {
    if !sealed {
        return Ok(Box::new(PlainReader::new(input).map_err(Error::seal(place))?));
    }
    let Some(identities) = identities else { return Err(no_identity(place)) };
    Ok(Box::new(Opener::new(input, identities).map_err(Error::seal(place))?))
}

pub(crate) fn no_identity(place: &str) -> Error {
    Error::refused(
        format!("{place} is sealed and no identity was given"),
        "give --identity FILE or set HIGHWATER_IDENTITY_FILE",
    )
}

/// The document in an object, which is at most `bound` bytes; nothing may follow it.
pub(crate) fn open_document<T: DeserializeOwned>(
    bytes: &[u8],
    sealed: bool,
    identities: Option<&Identities>,
    bound: u64,
    place: &str,
) -> Result<T> {
    let mut reader = open(bytes, sealed, identities, place)?.take(bound + 1);
    let read = serde_json::from_reader(BufReader::with_capacity(BUFFER, &mut reader));
    if reader.limit() == 0 {
        return Err(Error::damaged(format!("{place}: more than {bound} bytes inside")));
    }
    read.map_err(|e| match e.is_io() {
        true => Error::damaged(format!("{place}: {e}")),
        false => Error::damaged(format!("{place}: its body: {e}")),
    })
}

/// Counts and digests what passes through to `inner`.
pub(crate) struct Digesting<W> {
    pub(crate) inner: W,
    hasher: sha2::Sha256,
    pub(crate) bytes: u64,
}

impl<W> Digesting<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, hasher: sha2::Digest::new(), bytes: 0 }
    }

    pub(crate) fn digest(self) -> (W, u64, Digest) {
        (self.inner, self.bytes, Digest(sha2::Digest::finalize(self.hasher).into()))
    }

    fn took(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.hasher, bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.took(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.took(&buffer[..n]);
        Ok(n)
    }
}
