//! A full image, streamed from the live database to the store without a local copy (P7).
//!
//! Two passes over one view: the first fills the page table and with it the rolling checksum the header needs, the second
//! encodes. The view stays the same as long as the tail's hold is kept, so a retry sends the same bytes.

use crate::error::{Error, Result};
use crate::table::PageTable;
use crate::write::form::{Form, ObjectWriter, plain_writer};
use bytes::Bytes;
use futures::stream::BoxStream;
use ltx::Header;
use ltx::checksum::{self, Rolling};
use sqlite_tail::View;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc;
use store::Feed;

/// First pass: fills `table` with the checksum of every page of the view.
pub(crate) fn tabulate(view: &mut View<'_>, table: &mut PageTable, lock_page: u32) -> Result<Rolling> {
    let mut filling = table.fill()?;
    let mut failed = None;
    view.for_each_page(|pgno: u32, page: &[u8]| {
        let sum = (pgno != lock_page).then(|| checksum::page_checksum(pgno, page));
        failed = failed.take().or(filling.push(sum).err());
        Ok(())
    })?;
    match failed {
        Some(error) => Err(error),
        None => filling.finish(),
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
-> (impl Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync, mpsc::Receiver<Feed>) {
    let (ask, asked) = mpsc::channel();
    let factory = move || {
        let (feed, body) = store::feed();
        // If the encoding thread is gone the feed is dropped with this message, and the upload fails.
        let _ = ask.send(feed);
        body
    };
    (factory, asked)
}

/// Encodes the view into one pass; gives the size of the object. A failure breaks the upload off.
pub(crate) fn fill(
    feed: Feed,
    pages: &mut impl Pages,
    header: &Header,
    scratch: &Path,
    form: &Form,
) -> Result<u64> {
    let (feed, size) = encode(pages, header, feed, scratch, form)?;
    feed.finish().map_err(Error::io(scratch, "stream the image"))?;
    Ok(size)
}
