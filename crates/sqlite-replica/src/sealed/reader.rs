//! Reading a sealed file from its beginning to its end, once, from a stream.
//!
//! A page is handed out before the end of the file is proven, as everywhere here: whoever collects pages throws them away if reading
//! fails (P2). Numbers are checked before they are believed; memory is one page and the numbers of one block (P7).

use crate::error::{Error, Result};
use crate::sealed::{HEADER, PAGES, clear_part};
use ltx::{HEADER_SIZE, Header};
use seal::{Identities, Item, Metadata, Opener};
use std::collections::VecDeque;
use std::io::{self, Read};

/// The refusal where an identity is needed and none is given; `what` is the object or the replica.
pub(crate) fn locked(what: &str) -> Error {
    Error::Refused {
        what: format!("{what} is sealed"),
        hint: "give the identity with --identity FILE or HIGHWATER_IDENTITY_FILE".into(),
    }
}

/// Decodes a file. `check` sees its header first; then every page goes to `each`, but for the lock page of a snapshot.
pub(crate) fn decode<R: Read>(
    input: R,
    key: &str,
    identities: Option<&Identities>,
    check: impl FnOnce(&Header) -> Result<()>,
    mut each: impl FnMut(u32, &[u8]) -> io::Result<()>,
) -> Result<Header> {
    let (mut opener, header) = open(input, key, identities)?;
    check(&header)?;
    let lock = header.page_size.lock_page();
    let mut numbers = Numbers { header, runs: VecDeque::new(), last: 0 };
    let mut page = Vec::with_capacity(header.page_size.bytes());
    let wrong = |rule: &str| damaged(key, rule.to_owned());
    while let Some(item) = opener.next_item().map_err(|e| failed(key, e))? {
        match item {
            Item::Metadata(Metadata { kind: PAGES, bytes }) if numbers.runs.is_empty() => {
                numbers.take(&bytes).map_err(wrong)?;
            }
            Item::Metadata(_) => return Err(wrong("metadata where none belongs")),
            Item::Data(mut bytes) => {
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at(bytes.len().min(header.page_size.bytes() - page.len()));
                    page.extend_from_slice(now);
                    bytes = later;
                    if page.len() == header.page_size.bytes() {
                        let pgno = numbers.next().map_err(wrong)?;
                        if pgno != lock {
                            each(pgno, &page).map_err(|e| Error::ltx(key)(ltx::Error::Io(e)))?;
                        }
                        page.clear();
                    }
                }
            }
            Item::BlockEnd if page.is_empty() && numbers.runs.is_empty() => {}
            Item::BlockEnd => return Err(wrong("a block does not hold the pages that it names")),
        }
    }
    if !numbers.runs.is_empty() || (header.is_snapshot() && numbers.last != header.commit) {
        return Err(wrong("pages are missing"));
    }
    Ok(header)
}

/// The header inside, rolling checksum and all, from the first bytes of an object.
pub(crate) fn opened_header(head: &[u8], key: &str, identities: Option<&Identities>) -> Result<Header> {
    open(head, key, identities).map(|(_, header)| header)
}

type Opened<R> = (Opener<R>, Header);

fn open<R: Read>(input: R, key: &str, identities: Option<&Identities>) -> Result<Opened<R>> {
    let identities = identities.ok_or_else(|| locked(key))?;
    let mut opener = Opener::new(input, identities).map_err(|e| failed(key, e))?;
    let first = match opener.next_item().map_err(|e| failed(key, e))? {
        Some(Item::Metadata(Metadata { kind: HEADER, bytes })) => bytes,
        _ => return Err(damaged(key, "it does not begin with the header of a file".into())),
    };
    let bytes: [u8; HEADER_SIZE] =
        first.try_into().map_err(|_| damaged(key, "the header of the file is cut off".into()))?;
    let header = Header::from_bytes(&bytes).map_err(Error::ltx(key))?.header;
    Ok((opener, header))
}

/// Whether the clear part and the header inside tell the same.
pub(crate) fn agrees(clear: &Header, inside: &Header) -> bool {
    clear_part(clear) == clear_part(inside)
}

/// The page numbers of the current block.
struct Numbers {
    header: Header,
    runs: VecDeque<(u32, u32)>,
    last: u32,
}

impl Numbers {
    fn take(&mut self, bytes: &[u8]) -> std::result::Result<(), &'static str> {
        let runs = bytes.chunks(8).map(|run| {
            let word = |at: usize| Some(u32::from_le_bytes(run.get(at..at + 4)?.try_into().ok()?));
            word(0).zip(word(4)).filter(|(first, count)| *first > 0 && *count > 0)
        });
        self.runs = runs.collect::<Option<_>>().ok_or("its page numbers cannot be read")?;
        if self.runs.is_empty() { Err("a block without page numbers") } else { Ok(()) }
    }

    fn next(&mut self) -> std::result::Result<u32, &'static str> {
        let (first, count) = self.runs.front_mut().ok_or("more pages than it names")?;
        let pgno = *first;
        let lock = self.header.page_size.lock_page();
        let complete = self.header.is_snapshot();
        if pgno <= self.last || pgno > self.header.commit || (pgno == lock && !complete) {
            return Err("its page numbers are out of order or beyond the end");
        }
        if complete && pgno != self.last + 1 {
            return Err("a page is missing in a snapshot");
        }
        self.last = pgno;
        *first = first.saturating_add(1);
        *count -= 1;
        if *count == 0 {
            self.runs.pop_front();
        }
        Ok(pgno)
    }
}

fn damaged(key: &str, what: String) -> Error {
    Error::Object {
        key: key.to_owned(),
        what,
        hint: "restore the newest provable point with --latest-valid, or choose one of `restore list`".into(),
    }
}

/// An error of opening: damage, the wrong identity, or the store below, which comes back as what it is.
fn failed(key: &str, error: seal::Error) -> Error {
    match error {
        seal::Error::NotForUs { .. } => Error::Refused {
            what: format!("{key}: {error}"),
            hint: "give an identity it was sealed for".into(),
        },
        seal::Error::Io(error) => match store_error(&error) {
            Some(error) => Error::Store(error),
            None => Error::ltx(key)(ltx::Error::Io(error)),
        },
        error => damaged(key, error.to_string()),
    }
}

/// The store's own error under the layers of a stream.
fn store_error(error: &io::Error) -> Option<store::Error> {
    let mut at: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(inner) = at {
        if let Some(error) = inner.downcast_ref::<store::Error>() {
            return Some(error.clone());
        }
        at = match inner.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => inner.source(),
        };
    }
    None
}
