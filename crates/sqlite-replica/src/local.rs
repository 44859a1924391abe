//! What a file on the volume says about itself: the staged file, what the spool keeps, the scratch of a merge.
//!
//! Only its header is read here, and nothing is proven: `write::stage::prove` reads it to its end. Files in the store have
//! [`read_header`](crate::restore::read_header). A sealed replica keeps its files on the volume in plain text, so this needs no key.

use crate::error::{Error, Result};
use ltx::{Extension, HEADER_SIZE, Header};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The header of an LTX file on the volume.
pub(crate) fn local_header(path: &Path) -> Result<Header> {
    let mut head = [0; HEADER_SIZE];
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    file.read_exact(&mut head).map_err(Error::io(path, "read"))?;
    Ok(Header::from_bytes(&head).map_err(Error::ltx(&path.display().to_string()))?.header)
}

/// The write id under which a file was sent; zeros where another program wrote it.
pub(crate) fn write_id(header: &Header) -> [u8; 6] {
    Extension::from_reserved(&header.reserved).map_or([0; 6], |stamp| stamp.write_id)
}
