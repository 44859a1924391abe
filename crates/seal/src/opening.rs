//! What a reader reads through: age, or nothing.

use crate::source::Source;
use crate::{Error, Identities};
use age::DecryptError;
use age::stream::StreamReader;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::atomic::Ordering;

/// Decrypts what is read through it.
pub struct Unsealed<R>(StreamReader<BufReader<Source<R>>>);

impl<R: Read> Unsealed<R> {
    /// Opens anything age wrote, whatever is inside: archives of other programs. Our own objects have readers that know their
    /// frames as well.
    pub fn open(input: R, identities: &Identities) -> Result<Self, Error> {
        Self::new(input, identities)
    }

    /// Reads age's header and finds the identity that opens it.
    pub(crate) fn new(input: R, identities: &Identities) -> Result<Self, Error> {
        let (source, in_header) = Source::new(input);
        let decryptor = age::Decryptor::new_buffered(BufReader::new(source)).map_err(refusal)?;
        if decryptor.is_scrypt() {
            return Err(Error::NotSealed(
                "it is encrypted with a passphrase, which no backup of ours is".into(),
            ));
        }
        let reader = decryptor.decrypt(identities.as_age()).map_err(|error| match error {
            DecryptError::NoMatchingKeys => Error::NotForUs { identities: identities.count() },
            other => refusal(other),
        })?;
        in_header.store(false, Ordering::Relaxed);
        Ok(Self(reader))
    }
}

fn refusal(error: DecryptError) -> Error {
    match error {
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            match Error::reading(error) {
                Error::Damaged(_) => Error::Damaged("it ends within the age header".into()),
                own => own,
            }
        }
        DecryptError::Io(error) => Error::reading(error),
        DecryptError::InvalidHeader => Error::NotSealed("it does not begin with an age header".into()),
        DecryptError::UnknownFormat => Error::NotSealed("an unknown version of age".into()),
        other => Error::Damaged(other.to_string()),
    }
}

impl<R: Read> Read for Unsealed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Seek> Seek for Unsealed<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Reads through unchanged.
pub struct Clear<R>(BufReader<Source<R>>);

impl<R: Read> Clear<R> {
    pub(crate) fn new(input: R) -> Self {
        let (source, in_header) = Source::new(input);
        in_header.store(false, Ordering::Relaxed);
        Self(BufReader::new(source))
    }
}

impl<R: Read> Read for Clear<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Seek> Seek for Clear<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}
