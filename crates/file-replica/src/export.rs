//! A snapshot as one tar archive, for people and for tools that know nothing of us.
//!
//! Runs in a thread and asks the store from there: `tar` is written from its beginning to its end, whatever the size (P7). Directories
//! come first, content in the order of the objects, further names of a file after it.

use crate::catalogue::read_object;
use crate::chest;
use crate::entry::{Entry, Kind};
use crate::layout::PACKS;
use crate::manifest::Object;
use crate::pack::{append, append_pax, header_of, prove, unpack};
use crate::path::RelPath;
use crate::restore::RestorePlan;
use crate::write::blocking;
use crate::{Error, Result};
use futures::stream::{BoxStream, StreamExt};
use seal::Identities;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;
use tokio::runtime::Handle;

/// Writes a tar archive of the plan; gives the output back.
pub async fn export_tar<W: Write + Send + 'static>(
    store: &Store,
    plan: RestorePlan,
    identities: Option<Arc<Identities>>,
    output: W,
) -> Result<W> {
    let (store, handle) = (store.clone(), Handle::current());
    blocking(move || Tar { store, handle, plan, identities }.write(output)).await
}

struct Tar {
    store: Store,
    handle: Handle,
    plan: RestorePlan,
    identities: Option<Arc<Identities>>,
}

impl Tar {
    fn write<W: Write>(&self, output: W) -> Result<W> {
        let mut tar = tar::Builder::new(output);
        let mut by_object: BTreeMap<u32, Vec<&Entry>> = BTreeMap::new();
        let mut first: HashMap<u32, &RelPath> = HashMap::new();
        let mut later: Vec<(&Entry, &RelPath)> = Vec::new();
        for entry in self.plan.entries() {
            let Kind::File(content) = &entry.kind else {
                self.plain(&mut tar, entry)?;
                continue;
            };
            if let Some(link) = content.link {
                if let Some(name) = first.get(&link) {
                    later.push((entry, name));
                    continue;
                }
                first.insert(link, &entry.path);
            }
            match content.object {
                None => append(&mut tar, entry, 0, io::empty()).map_err(written)?,
                Some(object) => by_object.entry(object).or_default().push(entry),
            }
        }
        for (at, entries) in by_object {
            let object = &self.plan.manifest.objects[at as usize];
            if object.key.starts_with(PACKS) {
                self.pack(&mut tar, object, entries)?
            } else {
                self.big(&mut tar, object, entries)?
            }
        }
        for (entry, name) in later {
            let mut header = header_of(entry, tar::EntryType::Link);
            self.linked(&mut tar, &mut header, entry, name.as_bytes())?;
        }
        tar.into_inner().map_err(written)
    }

    /// A directory, a link or a fifo.
    fn plain<W: Write>(&self, tar: &mut tar::Builder<W>, entry: &Entry) -> Result<()> {
        match &entry.kind {
            Kind::Symlink { target } => {
                let mut header = header_of(entry, tar::EntryType::Symlink);
                self.linked(tar, &mut header, entry, target)
            }
            Kind::Fifo => self.member(tar, &mut header_of(entry, tar::EntryType::Fifo), entry),
            _ => self.member(tar, &mut header_of(entry, tar::EntryType::Directory), entry),
        }
    }

    fn linked<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        header: &mut tar::Header,
        entry: &Entry,
        target: &[u8],
    ) -> Result<()> {
        let long = header.set_link_name_literal(target).is_err();
        self.named(tar, header, entry, long.then_some(target))
    }

    fn member<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        header: &mut tar::Header,
        entry: &Entry,
    ) -> Result<()> {
        self.named(tar, header, entry, None)
    }

    fn named<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        header: &mut tar::Header,
        entry: &Entry,
        target: Option<&[u8]>,
    ) -> Result<()> {
        let long = header.set_path(entry.path.as_path()).is_err();
        if long {
            header.set_path("long-name").map_err(written)?;
        }
        append_pax(tar, entry, long.then(|| entry.path.as_bytes()), target).map_err(written)?;
        header.set_cksum();
        tar.append(header, io::empty()).map_err(written)
    }

    fn pack<W: Write>(&self, tar: &mut tar::Builder<W>, object: &Object, entries: Vec<&Entry>) -> Result<()> {
        let body = self.handle.block_on(read_object(&self.store, object))?;
        let mut wanted: HashMap<RelPath, Vec<&Entry>> = HashMap::new();
        for entry in entries {
            let member = entry.content().and_then(|c| c.member.clone()).unwrap_or_else(|| entry.path.clone());
            wanted.entry(member).or_default().push(entry);
        }
        unpack(object, &body, self.plan.head.sealed, self.identities.as_deref(), |name, bytes| {
            for entry in wanted.remove(&name).unwrap_or_default() {
                if let Some(content) = entry.content() {
                    prove(&object.key, &entry.path, bytes, &content.sha256)?;
                }
                append(tar, entry, bytes.len() as u64, bytes).map_err(written)?;
            }
            Ok(())
        })?;
        match wanted.keys().next() {
            Some(missing) => Err(Error::damaged(format!("{} does not hold {missing}", object.key))),
            None => Ok(()),
        }
    }

    fn big<W: Write>(&self, tar: &mut tar::Builder<W>, object: &Object, entries: Vec<&Entry>) -> Result<()> {
        for entry in entries {
            let got = self.handle.block_on(self.store.get(&object.key, None))?;
            let body = Body { handle: self.handle.clone(), stream: got.stream, rest: bytes::Bytes::new() };
            let opened = chest::open(body, self.plan.head.sealed, self.identities.as_deref(), &object.key)?;
            let mut plain = chest::Digesting::new(opened);
            append(tar, entry, entry.size(), (&mut plain).take(entry.size())).map_err(written)?;
            io::copy(&mut plain, &mut io::sink())
                .map_err(|e| Error::damaged(format!("{}: {e}", object.key)))?;
            let (_, size, digest) = plain.digest();
            if entry.content().is_none_or(|c| c.sha256 != digest || c.size != size) {
                return Err(Error::damaged(format!(
                    "{}: {} is not the file that was stored",
                    object.key, entry.path
                )));
            }
        }
        Ok(())
    }
}

fn written(source: io::Error) -> Error {
    Error::Io { path: PathBuf::from("archive"), doing: "write", source }
}

/// An object's body as a blocking reader.
pub(crate) struct Body {
    pub(crate) handle: Handle,
    pub(crate) stream: BoxStream<'static, store::Result<bytes::Bytes>>,
    pub(crate) rest: bytes::Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(e)) => return Err(io::Error::other(e.to_string())),
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.rest.len());
        buffer[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}
