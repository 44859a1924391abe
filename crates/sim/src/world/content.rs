//! What an object of a replica holds, read for the oracle: plain, or sealed and opened with the identity. Of sealed objects it is the format as
//! `docs/formats/sealed.md` tells it, and not the reader of the product.

use crate::key::Key;
use anyhow::{Context, Result, ensure};
use ltx::{Decoder, Header};
use seal::{Item, Opener};
use std::collections::BTreeSet;

/// Bytes of a file without pages.
const CLAIM: usize = 131;

/// Header and page numbers.
pub(super) struct Content {
    pub(super) header: Header,
    pub(super) pages: BTreeSet<u32>,
}

/// Reads an object to its end.
pub(super) fn content(bytes: &[u8], key: &Key) -> Result<Content> {
    let told = must_be_sealed(bytes, key);
    ensure!(!told, "pages are in plain text in a sealed replica");
    if seal::is_sealed(bytes) { sealed(bytes, key) } else { plain(bytes) }
}

/// Whether this object says what nobody without the identity should know.
pub(super) fn must_be_sealed(bytes: &[u8], key: &Key) -> bool {
    key.seals() && bytes.len() != CLAIM && !seal::is_sealed(bytes)
}

fn plain(bytes: &[u8]) -> Result<Content> {
    let mut decoder = Decoder::new(bytes)?;
    let header = **decoder.header();
    let mut page = vec![0; header.page_size.bytes()];
    let mut pages = BTreeSet::new();
    while let Some(pgno) = decoder.next_page(&mut page)? {
        pages.insert(pgno);
    }
    Ok(Content { header, pages })
}

fn sealed(bytes: &[u8], key: &Key) -> Result<Content> {
    let identities = key.identities().context("a sealed object in a plain replica")?;
    let mut opener = Opener::new(bytes, &identities)?;
    let (mut header, mut pages, mut data) = (None, BTreeSet::new(), 0);
    while let Some(item) = opener.next_item()? {
        match item {
            Item::Data(bytes) => data += bytes.len(),
            Item::BlockEnd => {}
            Item::Metadata(metadata) if metadata.kind == 0 => {
                let bytes: [u8; 100] = metadata.bytes[..].try_into().context("the header has 100 bytes")?;
                header = Some(Header::from_bytes(&bytes)?.header);
            }
            Item::Metadata(metadata) => {
                for run in metadata.bytes.chunks(8) {
                    let word = |at: usize| {
                        let word = run.get(at..at + 4).and_then(|word| word.try_into().ok());
                        word.map(u32::from_le_bytes).context("a run of pages is cut off")
                    };
                    pages.extend(word(0)?..word(0)? + word(4)?);
                }
            }
        }
    }
    let header = header.context("no header")?;
    ensure!(data == pages.len() * header.page_size.bytes(), "{} pages in {data} bytes", pages.len());
    Ok(Content { header, pages })
}
