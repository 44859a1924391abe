//! One object of a replica: fetched, proven, and every file in it written under a temporary name.
//!
//! A pack is held in memory whole, one per permit of the [`super::Budget`]; a big file is streamed through a thread (P7). The stored
//! bytes are compared with the digest of the head and every file with the digest of its entry (P2).

use super::execute::Run;
use super::tree::{Sparse, Staged, Tree};
use crate::catalogue::read_object;
use crate::chest;
use crate::entry::{Content, Entry, Kind};
use crate::layout::PACKS;
use crate::manifest::Object;
use crate::pack::{SMALL, prove, unpack};
use crate::path::RelPath;
use crate::write::blocking;
use crate::{Error, Result};
use futures::stream::StreamExt;
use seal::Identities;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes of a big file that are on their way from the store to the disk.
const STREAMED: u64 = 2 << 20;

impl Run<'_> {
    /// One object, and every file that is in it.
    pub(super) async fn fetch(&self, at: u32, entries: Vec<Entry>) -> Result<()> {
        let object = self.plan.manifest.objects[at as usize].clone();
        self.options.steps.at("fetch an object")?;
        let staged = if object.key.starts_with(PACKS) {
            let _memory = self.options.budget.take(object.size + SMALL).await;
            let body = read_object(self.store, &object).await?;
            let (tree, identities, sealed) =
                (self.tree.clone(), self.identities.clone(), self.plan.head.sealed);
            let size = object.size;
            let staged = blocking(move || {
                let staged = stage_pack(&tree, &object, &body, sealed, identities.as_deref(), entries)?;
                tree.sync()?;
                Ok::<_, Error>(staged)
            })
            .await?;
            self.progress.add(size);
            staged
        } else {
            let mut staged = Vec::new();
            for entry in entries {
                staged.push(self.fetch_big(&object, entry).await?);
            }
            self.tree.sync()?;
            staged
        };
        for file in staged {
            self.options.steps.at("rename a file")?;
            self.tree.publish(file)?;
        }
        Ok(())
    }

    /// A big file, streamed through a thread that opens, proves and writes it.
    async fn fetch_big(&self, object: &Object, entry: Entry) -> Result<Staged> {
        let _memory = self.options.budget.take(STREAMED).await;
        let got = match self.store.get(&object.key, None).await {
            Err(store::Error::NotFound { .. }) => {
                return Err(Error::damaged(format!("{} is missing", object.key)));
            }
            other => other?,
        };
        let (sender, receiver) = std::sync::mpsc::sync_channel::<bytes::Bytes>(4);
        let (tree, identities, sealed) = (self.tree.clone(), self.identities.clone(), self.plan.head.sealed);
        let wanted = object.clone();
        let writing = tokio::task::spawn_blocking(move || {
            stage_big(
                &tree,
                &wanted,
                Incoming { receiver, rest: bytes::Bytes::new() },
                sealed,
                identities.as_deref(),
                &entry,
            )
        });
        let mut chunks = got.stream;
        let mut failed = None;
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(mut chunk) => {
                    self.progress.add(chunk.len() as u64);
                    loop {
                        match sender.try_send(chunk) {
                            Ok(()) => break,
                            Err(std::sync::mpsc::TrySendError::Full(back)) => {
                                chunk = back;
                                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                            }
                            // The writer has failed and says why.
                            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => break,
                        }
                    }
                }
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        drop(sender);
        let staged = writing.await.map_err(|e| Error::damaged(format!("{}: {e}", object.key)))?;
        match failed {
            Some(e) => Err(e.into()),
            None => staged,
        }
    }
}

/// Members to the entries that want them.
fn stage_pack(
    tree: &Tree,
    object: &Object,
    body: &[u8],
    sealed: bool,
    identities: Option<&Identities>,
    entries: Vec<Entry>,
) -> Result<Vec<Staged>> {
    let mut wanted: HashMap<RelPath, Vec<Entry>> = HashMap::new();
    for entry in entries {
        let member = entry.content().and_then(|c| c.member.clone()).unwrap_or_else(|| entry.path.clone());
        wanted.entry(member).or_default().push(entry);
    }
    let mut staged = Vec::new();
    unpack(object, body, sealed, identities, |name, bytes| {
        for entry in wanted.remove(&name).unwrap_or_default() {
            let Kind::File(content) = &entry.kind else { continue };
            prove(&object.key, &entry.path, &bytes, &content.sha256)?;
            staged.push(tree.stage(&entry, content, &bytes)?);
        }
        Ok(())
    })?;
    match wanted.keys().next() {
        Some(missing) => Err(Error::damaged(format!("{} does not hold {missing}", object.key))),
        None => Ok(staged),
    }
}

fn stage_big(
    tree: &Tree,
    object: &Object,
    incoming: Incoming,
    sealed: bool,
    identities: Option<&Identities>,
    entry: &Entry,
) -> Result<Staged> {
    let content: &Content =
        entry.content().ok_or_else(|| Error::damaged(format!("{} is no file", entry.path)))?;
    let (temporary, mut file) = tree.temporary()?;
    let mut stored = chest::Digesting::new(incoming);
    let digest = {
        let mut plain = chest::Digesting::new(chest::open(&mut stored, sealed, identities, &object.key)?);
        let mut out = Sparse::new(&mut file, content.sparse);
        copy(&mut plain, &mut out, object, &temporary)?;
        out.end().map_err(Error::io(&temporary, "write"))?;
        plain.digest().2
    };
    let (_, size, sha256) = stored.digest();
    if size != object.size || sha256 != object.sha256 {
        return Err(Error::damaged(format!("{} is not what was stored", object.key)));
    }
    if digest != content.sha256 {
        return Err(Error::damaged(format!(
            "{}: {} is not the file that was stored",
            object.key, entry.path
        )));
    }
    tree.finish(temporary, &file, entry)
}

/// Tells a damaged object from a full disk.
fn copy(from: &mut impl Read, to: &mut impl Write, object: &Object, temporary: &Path) -> Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer).map_err(|e| Error::damaged(format!("{}: {e}", object.key)))? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n]).map_err(Error::io(temporary, "write"))?,
        }
    }
}

/// The body of an object as a blocking reader.
struct Incoming {
    receiver: std::sync::mpsc::Receiver<bytes::Bytes>,
    rest: bytes::Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.recv() {
                Ok(chunk) => self.rest = chunk,
                Err(_) => return Ok(0),
            }
        }
        let n = buffer.len().min(self.rest.len());
        buffer[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}
