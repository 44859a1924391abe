//! From a scan to the entries of a snapshot: reads what changed, sends packs, keeps references to what did not.
//!
//! A thread reads, packs and seals; the caller sends. At most two packs are in memory (P7). What is not read again is what has
//! the same inode, size, mtime and ctime as when it was read and is not suspect. Content that is stored already, under whatever
//! name, is not sent again: a renamed directory costs its manifest.

mod big;
mod rewrite;
mod small;
mod tidy;
mod trouble;
mod unchanged;
mod uploads;

use super::{Writer, blocking};
use crate::entry::{Content, Digest, Entry, Kind, Xattr};
use crate::home::Home;
use crate::layout::PACKS;
use crate::manifest::Object;
use crate::pack::{Packed, Packer, SMALL};
use crate::path::RelPath;
use crate::read::{self, Reading, Stamps};
use crate::scan::{Found, LeftOut, Look, Scan};
use crate::state::{Print, State};
use crate::steps::Steps;
use crate::{Error, Result, Settings};
use rustix::fs::FileType;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use store::PutOptions;
use tidy::{drop_orphans, link_numbers, used_objects};
use tokio::sync::mpsc;
pub(super) use trouble::Troubles;
use unchanged::is_unchanged;
pub(super) use uploads::Uploads;

/// Packs in memory: one is sent while the next is made.
const PACKS_AT_ONCE: usize = 2;

/// Entries of a snapshot, with everything they refer to in the store.
pub(super) struct Drafted {
    pub(super) entries: Vec<Entry>,
    pub(super) prints: Vec<Print>,
    pub(super) objects: Vec<Object>,
    pub(super) uploads: Uploads,
    pub(super) uploaded: u64,
    pub(super) stored_bytes: u64,
    pub(super) troubles: Arc<Troubles>,
    /// Something that was read has changed again since.
    pub(super) moved: bool,
    pub(super) gone_since_scan: u64,
    pub(super) left_out: LeftOut,
}

/// What the thread hands to the sender.
enum Upload {
    Pack(Packed),
    Big(big::Stream),
}

impl Writer {
    /// Reads and sends what changed.
    pub(super) async fn draft(&mut self, scan: Scan, uploads: Uploads) -> Result<Drafted> {
        let (sender, mut receiver) = mpsc::channel::<Upload>(1);
        let (free, room) = mpsc::channel::<()>(PACKS_AT_ONCE);
        (0..PACKS_AT_ONCE).try_for_each(|_| free.try_send(())).expect("there is room for all of them");
        let drafter = Drafter {
            settings: self.settings.clone(),
            state: self.state.clone(),
            slack_ms: self.slack_ms,
            steps: self.steps.clone(),
            uploads,
            rewrite: HashSet::new(),
            packer: None,
            packer_index: 0,
            sender,
            room,
            uploaded: 0,
            told: self.told.clone(),
            troubles: Troubles::default(),
            gone: 0,
        };
        let working = tokio::spawn(blocking(move || drafter.run(scan)));
        let mut stored = 0;
        let sent = async {
            while let Some(upload) = receiver.recv().await {
                self.steps.at("send content")?;
                stored += match upload {
                    Upload::Pack(packed) => {
                        let size = packed.object.size;
                        self.store.put(&packed.object.key, packed.body, &PutOptions::create()).await?;
                        // The thread may be done already.
                        let _ = free.try_send(());
                        size
                    }
                    Upload::Big(stream) => stream.send(&self.store).await?,
                };
            }
            Ok::<(), Error>(())
        }
        .await;
        drop((receiver, free)); // a thread that still has something to send stops here
        let drafted = working.await.map_err(|e| Error::Io {
            path: self.settings.root.clone(),
            doing: "read",
            source: std::io::Error::other(e.to_string()),
        })?;
        sent?;
        let mut drafted = drafted?;
        drafted.stored_bytes = stored;
        self.told = drafted.troubles.clone();
        Ok(drafted)
    }
}

struct Drafter {
    settings: Arc<Settings>,
    state: Option<Arc<State>>,
    slack_ms: i64,
    steps: Steps,
    uploads: Uploads,
    /// Objects whose content is packed anew.
    rewrite: HashSet<u32>,
    packer: Option<Packer>,
    packer_index: u32,
    sender: mpsc::Sender<Upload>,
    /// One for each pack that may be made.
    room: mpsc::Receiver<()>,
    uploaded: u64,
    /// What the last look had trouble with, and what this one has.
    told: Arc<Troubles>,
    troubles: Troubles,
    gone: u64,
}

/// The content of a file, and how it looked then.
enum Got {
    /// As it was when it was read before.
    Kept(Content),
    /// Read just now.
    Read(Content, Look),
    Nothing,
}

impl Drafter {
    fn run(mut self, scan: Scan) -> Result<Drafted> {
        let state = self.state.clone();
        let state = state.as_deref();
        self.rewrite = self.to_rewrite(&scan);
        let home = Home::of(&self.settings.root);
        let mut stamps = Stamps::new(&home, scan.began, self.slack_ms);
        let links = link_numbers(&scan.found);
        let mut by_link: HashMap<u32, (Content, Look, RelPath)> = HashMap::new();
        let mut entries = Vec::with_capacity(scan.found.len());
        let mut prints = Vec::with_capacity(scan.found.len());
        // What was read: its place in `entries`, and its size.
        let mut read: Vec<(u32, u64)> = Vec::new();
        for found in &scan.found {
            let before = state.and_then(|s| s.get(&found.path));
            let path = before.map_or(&found.path, |(entry, _)| &entry.path);
            let mut look = found.look;
            let kind = match look.kind {
                FileType::Directory => Kind::Dir,
                FileType::Fifo => Kind::Fifo,
                FileType::Symlink => match rustix::fs::readlink(self.place(&found.path), Vec::new()) {
                    Ok(target) => Kind::Symlink { target: target.into_bytes() },
                    Err(errno) => match self.lost_link(found, before, errno.into())? {
                        Some(old) => old,
                        None => continue,
                    },
                },
                _ => {
                    let link = links.get(&look.ino).copied();
                    let content = match link.and_then(|n| by_link.get(&n)) {
                        Some((content, seen, first)) => {
                            look = *seen;
                            let mut content = content.clone();
                            // The bytes are in the pack under the first name.
                            let in_pack = |o: u32| self.uploads.objects[o as usize].key.starts_with(PACKS);
                            if content.object.is_some_and(in_pack) {
                                content.member.get_or_insert_with(|| first.clone());
                            }
                            content
                        }
                        None => {
                            let mut content = match self.content(found, before, &mut stamps)? {
                                Got::Nothing => continue,
                                Got::Kept(content) => content,
                                Got::Read(content, seen) => {
                                    look = seen;
                                    let at = u32::try_from(entries.len()).expect("fewer entries than inodes");
                                    read.push((at, look.size));
                                    content
                                }
                            };
                            content.link = link;
                            by_link.extend(link.map(|n| (n, (content.clone(), look, path.clone()))));
                            content
                        }
                    };
                    Kind::File(content)
                }
            };
            let mut print = Print::of(&look, scan.began, self.slack_ms);
            let xattrs = self.xattrs(found, before, &print)?;
            // Whatever could not be read is tried again by the next look, even if it looks the same.
            print.suspect |= self.troubles.has(&found.path);
            let (mode, uid, gid) = (look.mode, look.uid, look.gid);
            entries.push(Entry { path: path.clone(), kind, mode, uid, gid, mtime: look.mtime, xattrs });
            prints.push(print);
        }
        self.send_pack()?;
        let moved = self.have_moved(&entries, &prints, &read);
        drop_orphans(&mut entries, &mut prints);
        let objects = used_objects(&mut entries, &self.uploads.objects);
        Ok(Drafted {
            entries,
            prints,
            objects,
            uploads: self.uploads,
            uploaded: self.uploaded,
            stored_bytes: 0,
            troubles: Arc::new(self.troubles),
            moved,
            gone_since_scan: self.gone,
            left_out: scan.left_out,
        })
    }

    fn place(&self, path: &RelPath) -> std::path::PathBuf {
        self.settings.root.join(path.as_path())
    }

    fn content(
        &mut self,
        found: &Found,
        before: Option<(&Entry, &Print)>,
        stamps: &mut Stamps<'_>,
    ) -> Result<Got> {
        let old = before.and_then(|(entry, _)| entry.content());
        let keep = |c: &Content| Content { link: None, ..c.clone() };
        let rewritten = old.and_then(|c| c.object).is_some_and(|o| self.rewrite.contains(&o));
        if let (Some((entry, print)), Some(content)) = (before, old)
            && !rewritten
            && !content.unstable
            && is_unchanged(&found.look, entry, print)
        {
            return Ok(Got::Kept(keep(content)));
        }
        let reading = if found.hidden {
            Reading::Unreadable(std::io::Error::other(
                "its first bytes cannot be read, and it may be a database",
            ))
        } else if found.look.size <= SMALL {
            match read::small(&self.settings.root, &found.path, SMALL, stamps)? {
                Reading::Stable(_, bytes) if bytes.len() as u64 > SMALL => self.big(found, stamps)?,
                Reading::Stable(look, bytes) => Reading::Stable(look, self.small(found, look, &bytes)?),
                Reading::Unstable => Reading::Unstable,
                Reading::Unreadable(error) => Reading::Unreadable(error),
                Reading::Gone => Reading::Gone,
            }
        } else {
            self.big(found, stamps)?
        };
        match reading {
            Reading::Stable(look, content) => return Ok(Got::Read(content, look)),
            Reading::Gone => {
                self.gone += 1;
                return Ok(Got::Nothing);
            }
            Reading::Unstable => self.changes(&found.path, old.is_some()),
            Reading::Unreadable(error) => self.unreadable(&found.path, &error, old.is_some()),
        }
        let Some(content) = old else { return Ok(Got::Nothing) };
        Ok(Got::Kept(Content { unstable: true, ..keep(content) }))
    }

    fn xattrs(&mut self, found: &Found, before: Option<(&Entry, &Print)>, now: &Print) -> Result<Vec<Xattr>> {
        let old = before.map(|(entry, _)| &entry.xattrs);
        match before {
            Some((entry, print)) if print.ino == now.ino && print.ctime == now.ctime && !print.suspect => {
                Ok(entry.xattrs.clone())
            }
            _ => Ok(self.attributes(&found.path)?.or_else(|| old.cloned()).unwrap_or_default()),
        }
    }
}

fn new_content(look: &Look, size: u64, sha256: Digest) -> Content {
    let sparse = size > 0 && look.blocks.saturating_mul(512) + 4096 <= size;
    Content { size, sha256, object: None, member: None, link: None, sparse, unstable: false }
}
