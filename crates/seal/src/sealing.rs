//! What a writer writes through: age, or nothing.

use crate::{ClearPart, Error, Recipients};
use age::stream::StreamWriter;
use std::io::{self, Write};

/// The layer between frames and output; closing it makes the object complete.
pub trait Payload: Write + private::Payload {
    /// The output below.
    type Output;
    /// Writes what is left and gives the output back.
    fn close(self) -> io::Result<Self::Output>;
}

mod private {
    pub trait Payload {}
    impl<W: std::io::Write> Payload for super::SealedSink<W> {}
    impl<W: std::io::Write> Payload for super::ClearSink<W> {}
}

/// Encrypts what is written through it.
pub struct SealedSink<W: Write>(StreamWriter<W>);

impl<W: Write> SealedSink<W> {
    /// Writes age's header to `output`, the clear part first.
    pub(crate) fn new(output: W, clear: Option<&ClearPart>, recipients: &Recipients) -> Result<Self, Error> {
        let clear = clear.map(|part| part as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(clear.into_iter().chain(recipients.as_age()))
            .map_err(|error| Error::Recipient { place: "recipients".into(), reason: error.to_string() })?;
        Ok(Self(encryptor.wrap_output(output).map_err(Error::Io)?))
    }
}

impl<W: Write> Write for SealedSink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Payload for SealedSink<W> {
    type Output = W;
    fn close(self) -> io::Result<W> {
        let mut output = self.0.finish()?;
        output.flush()?;
        Ok(output)
    }
}

/// Writes through unchanged.
pub struct ClearSink<W>(pub(crate) W);

impl<W: Write> Write for ClearSink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Payload for ClearSink<W> {
    type Output = W;
    fn close(mut self) -> io::Result<W> {
        self.0.flush()?;
        Ok(self.0)
    }
}
