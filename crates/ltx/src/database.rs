//! Turns a snapshot back into a database file.

use std::io::{Read, Write};

use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::header::Header;

/// Writes the database in the snapshot `reader` to `out`: every page from 1 to commit, zeros where
/// SQLite's lock page is. Returns the header of the snapshot.
///
/// What was written is a database only when this returns `Ok` (P2): on an error, throw it away.
pub fn decode_database<R: Read, W: Write>(reader: R, mut out: W) -> Result<Header> {
    let mut decoder = Decoder::new(reader)?;
    let header = decoder.header().header;
    if !header.is_snapshot() {
        return Err(Error::Order { input: 0, rule: "not a snapshot: the file begins after transaction 1" });
    }
    let lock = header.page_size.lock_page();
    let mut page = vec![0; header.page_size.bytes()];
    // The decoder refuses holes in a snapshot, so only the lock page can be missing here.
    while let Some(pgno) = decoder.next_page(&mut page)? {
        if pgno == lock + 1 {
            write_zeros(&mut out, page.len())?;
        }
        out.write_all(&page)?;
    }
    if header.commit == lock {
        write_zeros(&mut out, page.len())?;
    }
    out.flush()?;
    Ok(header)
}

fn write_zeros(out: &mut impl Write, len: usize) -> Result<()> {
    Ok(out.write_all(&vec![0; len])?)
}
