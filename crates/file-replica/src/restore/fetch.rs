//! One object of a replica: fetched, proven, every file in it written under a temporary name, then renamed.
//!
//! A pack is held in memory whole, within the [`super::Budget`]; a big file is streamed through a thread (P7). The stored
//! bytes are compared with the digest of the head and every file with the digest of its entry (P2). Where no journal says that a restore is
//! under way (a part of a tree), the file system is synced before anything gets its name; see decision 0008 for what a loss
//! of power leaves of a whole one.

use super::execute::Run;
use super::tree::{Publisher, Sparse, Stage, Staged, Tree};
use crate::catalogue::{fetch_object, prove_object};
use crate::chest;
use crate::entry::{Content, Entry, Kind};
use crate::layout::PACKS;
use crate::manifest::Object;
use crate::pack::{SMALL, prove, unpack};
use crate::path::RelPath;
use crate::steps::Steps;
use crate::write::blocking;
use crate::{Error, Result};
use futures::stream::StreamExt;
use seal::Identities;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a big file that are on their way from the store to the disk.
const STREAMED: u64 = 2 << 20;

impl Run<'_> {
    /// One object, and every file that is in it.
    pub(super) async fn fetch(&self, at: u32, entries: Vec<Entry>) -> Result<()> {
        let object = self.plan.manifest.objects[at as usize].clone();
        self.options.steps.at("fetch an object")?;
        let writing = Writing {
            tree: self.tree.clone(),
            identities: self.identities.clone(),
            sealed: self.plan.head.sealed,
            sync: !self.plan.whole,
            steps: self.options.steps.clone(),
        };
        if !object.key.starts_with(PACKS) {
            for entry in entries {
                self.fetch_big(&object, entry, writing.clone()).await?;
            }
            return Ok(());
        }
        // Beside the pack, one file of it at a time, wanted or not.
        let wanted: u64 = entries.iter().map(Entry::size).sum();
        let largest = entries.iter().map(Entry::size).max().unwrap_or(0);
        let largest = largest.max(object.raw.saturating_sub(wanted).min(SMALL));
        let _memory = self.options.budget.take(object.size + largest).await;
        let body = fetch_object(self.store, &object).await?;
        let size = object.size;
        blocking(move || {
            prove_object(&object, &body)?;
            let stage = writing.tree.stage()?;
            let staged = writing.pack(&stage, &object, &body, entries)?;
            drop(body);
            writing.publish(&stage, staged)
        })
        .await?;
        self.progress.add(size);
        Ok(())
    }

    /// A big file, streamed through a thread that opens, proves and writes it.
    async fn fetch_big(&self, object: &Object, entry: Entry, write: Writing) -> Result<()> {
        let _memory = self.options.budget.take(STREAMED).await;
        let got = match self.store.get(&object.key, None).await {
            Err(store::Error::NotFound { .. }) => {
                return Err(Error::damaged(format!("{} is missing", object.key)));
            }
            other => other?,
        };
        let (sender, receiver) = std::sync::mpsc::sync_channel::<bytes::Bytes>(4);
        let wanted = object.clone();
        // The end of a body that was cut off looks like its end: named only once the store has said that it was all.
        let (go_on, may_publish) = std::sync::mpsc::sync_channel::<()>(1);
        let writing = tokio::task::spawn_blocking(move || {
            let stage = write.tree.stage()?;
            let incoming = Incoming { receiver, rest: bytes::Bytes::new() };
            let staged = write.big(&stage, &wanted, incoming, &entry)?;
            match may_publish.recv() {
                Ok(()) => write.publish(&stage, vec![staged]),
                Err(_) => Ok(()),
            }
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
        if failed.is_none() {
            let _ = go_on.send(());
        }
        drop(go_on);
        let written = writing.await.map_err(|e| Error::damaged(format!("{}: {e}", object.key)))?;
        failed.map_or(written, |e| Err(e.into()))
    }
}

/// What a thread needs to write the files of an object.
#[derive(Clone)]
struct Writing {
    tree: Arc<Tree>,
    identities: Option<Arc<Identities>>,
    sealed: bool,
    /// Whether the file system is synced before anything gets its name.
    sync: bool,
    steps: Steps,
}

impl Writing {
    /// Members to the entries that want them.
    fn pack(&self, stage: &Stage, object: &Object, body: &[u8], entries: Vec<Entry>) -> Result<Vec<Staged>> {
        let mut wanted: HashMap<RelPath, Vec<Entry>> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let member = entry.content().and_then(|c| c.member.clone());
            wanted.entry(member.unwrap_or_else(|| entry.path.clone())).or_default().push(entry);
        }
        let mut staged = Vec::new();
        unpack(object, body, self.sealed, self.identities.as_deref(), |name, bytes| {
            for entry in wanted.remove(&name).unwrap_or_default() {
                let Kind::File(content) = &entry.kind else { continue };
                prove(&object.key, &entry.path, bytes, &content.sha256)?;
                staged.push(self.tree.write(stage, &entry, content, bytes)?);
            }
            Ok(())
        })?;
        match wanted.keys().next() {
            Some(missing) => Err(Error::damaged(format!("{} does not hold {missing}", object.key))),
            None => Ok(staged),
        }
    }

    fn big(&self, stage: &Stage, object: &Object, incoming: Incoming, entry: &Entry) -> Result<Staged> {
        let content: &Content =
            entry.content().ok_or_else(|| Error::damaged(format!("{} is no file", entry.path)))?;
        let (number, mut file) = stage.temporary()?;
        let place = stage.place(number);
        let mut stored = chest::Digesting::new(incoming);
        let digest = {
            let opened = chest::open(&mut stored, self.sealed, self.identities.as_deref(), &object.key)?;
            let mut plain = chest::Digesting::new(opened);
            let mut out = Sparse::new(&mut file, content.sparse);
            copy(&mut plain, &mut out, object, &place)?;
            out.end().map_err(Error::io(&place, "write"))?;
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
        self.tree.finish(stage, number, &file, entry)
    }

    fn publish(&self, stage: &Stage, staged: Vec<Staged>) -> Result<()> {
        if self.sync {
            self.tree.sync()?;
        }
        let mut publisher = Publisher::new(&self.tree, stage);
        staged.into_iter().try_for_each(|file| {
            self.steps.at("rename a file")?;
            publisher.publish(file)
        })
    }
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
