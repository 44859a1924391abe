//! A full image, streamed from the live database to the store without a local copy (P7).
//!
//! Two passes over one view: the first fills the page table and with it the rolling checksum the header needs, the second
//! encodes. The view stays the same as long as the tail's hold is kept, so a retry sends the same bytes.

use crate::error::{Error, Result};
use crate::table::PageTable;
use crate::write::form::{Form, ObjectWriter, plain_writer};
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use ltx::Header;
use ltx::checksum::{self, Rolling};
use sqlite_tail::View;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc;
use tokio::sync::mpsc as channel;

/// Bytes per message between encoder and upload; four are in flight at most.
const CHUNK: usize = 256 << 10;

/// First pass: fills `table` with the checksum of every page of the view.
pub(crate) fn tabulate(view: &mut View<'_>, table: &mut PageTable, lock_page: u32) -> Result<Rolling> {
    table.truncate(0)?;
    let (mut run, mut first) = (Vec::with_capacity(8192), 1);
    let mut rolling = Rolling::empty();
    let mut failed = None;
    view.for_each_page(|pgno: u32, page: &[u8]| {
        let sum = if pgno == lock_page { 0 } else { checksum::page_checksum(pgno, page) };
        rolling.replace(None, Some(sum).filter(|s| *s != 0));
        run.push(sum);
        if run.len() == run.capacity() {
            failed = failed.take().or(table.set_run(first, &run).err());
            first = pgno + 1;
            run.clear();
        }
        Ok(())
    })?;
    if !run.is_empty() {
        table.set_run(first, &run)?;
    }
    match failed {
        Some(e) => Err(e),
        None => table.sync().map(|()| rolling),
    }
}

/// A database that stands still.
pub(crate) trait Pages {
    /// All pages in ascending order; the same ones each time.
    fn for_each_page(&mut self, visit: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>) -> Result<()>;
}

impl Pages for View<'_> {
    fn for_each_page(&mut self, visit: &mut dyn FnMut(u32, &[u8]) -> io::Result<()>) -> Result<()> {
        Ok(View::for_each_page(self, visit)?)
    }
}

/// Second pass: encodes the pages into `out`, as they are to be sent; gives the size of the object.
pub(crate) fn encode<W: Write>(
    pages: &mut impl Pages,
    header: &Header,
    out: W,
    scratch: &Path,
    form: &Form,
) -> Result<(W, u64)> {
    let mut writer = form.writer(out, header, scratch)?;
    hand_over(pages, header, &mut writer)?;
    writer.finish()
}

/// All pages but the lock page into an object.
pub(crate) fn hand_over<W: Write>(
    pages: &mut impl Pages,
    header: &Header,
    writer: &mut ObjectWriter<W>,
) -> Result<()> {
    each(pages, header, |pgno, page| writer.page(pgno, page))
}

/// The same for a file that stays on the volume.
pub(crate) fn encode_plain<W: Write>(
    pages: &mut impl Pages,
    header: &Header,
    out: W,
    scratch: &Path,
) -> Result<W> {
    let mut writer = plain_writer(out, header, scratch)?;
    each(pages, header, |pgno, page| writer.page(pgno, page).map_err(Error::ltx(PLACE)))?;
    Ok(writer.finish().map_err(Error::ltx(PLACE))?.0)
}

const PLACE: &str = "full image";

fn each(
    pages: &mut impl Pages,
    header: &Header,
    mut write: impl FnMut(u32, &[u8]) -> Result<()>,
) -> Result<()> {
    let lock_page = header.page_size.lock_page();
    let mut failed = None;
    let visited = pages.for_each_page(&mut |pgno: u32, page: &[u8]| {
        if pgno != lock_page
            && let Err(e) = write(pgno, page)
        {
            failed = Some(e);
            return Err(io::Error::other("the image could not be written"));
        }
        Ok(())
    });
    visited.map_err(|e| failed.take().unwrap_or(e))
}

/// A source of byte streams that another thread encodes on request: each call of the factory asks for one pass.
pub(crate) fn passes()
-> (impl Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync, mpsc::Receiver<ChunkWriter>) {
    let (ask, asked) = mpsc::channel();
    let factory = move || {
        let (sender, receiver) = channel::channel(4);
        // If the encoding thread is gone the stream ends early, and the upload fails for lack of its end mark.
        let _ = ask.send(ChunkWriter { sender, chunk: BytesMut::with_capacity(CHUNK) });
        futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|chunk| (chunk, r)) })
            .boxed()
    };
    (factory, asked)
}

/// The encoder's end of one pass.
pub(crate) struct ChunkWriter {
    sender: channel::Sender<io::Result<Bytes>>,
    chunk: BytesMut,
}

impl ChunkWriter {
    /// Encodes the view into the stream; a failure is put into the stream, so that the upload is aborted.
    pub(crate) fn fill(
        self,
        pages: &mut impl Pages,
        header: &Header,
        scratch: &Path,
        form: &Form,
    ) -> Result<u64> {
        let failure = self.sender.clone();
        let done = encode(pages, header, BufWriter::with_capacity(CHUNK, self), scratch, form).and_then(
            |(out, size)| {
                let mut out =
                    out.into_inner().map_err(|e| Error::io(scratch, "stream the image")(e.into_error()))?;
                out.flush().map_err(Error::io(scratch, "stream the image"))?;
                Ok(size)
            },
        );
        if done.is_err() {
            let _ = failure.blocking_send(Err(io::Error::other("the image could not be read")));
        }
        done
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, BytesMut::with_capacity(CHUNK)).freeze();
        self.sender
            .blocking_send(Ok(chunk))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended"))
    }
}
