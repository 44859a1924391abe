//! From a scan to the entries of a snapshot: reads what changed, sends packs, keeps references to what did not.
//!
//! A thread reads, packs and seals; the caller sends. At most three packs are in memory (P7). What is not read again is what has
//! the same inode, size, mtime and ctime as when it was read and is not suspect. Content that is stored already, under whatever
//! name, is not sent again: a renamed directory costs its manifest.

mod big;
mod rewrite;
mod small;
mod tidy;
mod trouble;

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

/// What is stored already, in the last snapshot and in this attempt.
pub(super) struct Uploads {
    write_id: String,
    made: usize,
    objects: Vec<Object>,
    by_digest: HashMap<Digest, (u32, RelPath)>,
}

impl Uploads {
    pub(super) fn new(write_id: &str, state: Option<&State>) -> Uploads {
        Uploads {
            write_id: write_id.to_owned(),
            made: 0,
            objects: state.map_or_else(Vec::new, |s| s.objects().to_vec()),
            by_digest: state.map_or_else(HashMap::new, State::by_digest),
        }
    }
}

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
            uploaded: 0,
            told: self.told.clone(),
            troubles: Troubles::default(),
            gone: 0,
            read: Vec::new(),
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
                        size
                    }
                    Upload::Big(stream) => stream.send(&self.store).await?,
                };
            }
            Ok::<(), Error>(())
        }
        .await;
        drop(receiver); // a thread that still has something to send stops here
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
    uploaded: u64,
    /// What the last look had trouble with, and what this one has.
    told: Arc<Troubles>,
    troubles: Troubles,
    gone: u64,
    read: Vec<(RelPath, Look)>,
}

/// The content of a file, and how it looked then.
enum Got {
    Content(Content, Look),
    Nothing,
}

impl Drafter {
    fn run(mut self, scan: Scan) -> Result<Drafted> {
        let state = self.state.clone();
        let old = state.as_deref().map(State::by_path).unwrap_or_default();
        self.rewrite = self.to_rewrite(&scan, &old);
        let home = Home::of(&self.settings.root);
        let mut stamps = Stamps::new(&home, scan.began, self.slack_ms);
        let links = link_numbers(&scan.found);
        let mut by_link: HashMap<u32, (Content, Look, RelPath)> = HashMap::new();
        let mut entries = Vec::with_capacity(scan.found.len());
        let mut prints = Vec::with_capacity(scan.found.len());
        for found in &scan.found {
            let before = old.get(&found.path).copied();
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
                        None => match self.content(found, before, &mut stamps)? {
                            Got::Nothing => continue,
                            Got::Content(mut content, seen) => {
                                content.link = link;
                                look = seen;
                                by_link
                                    .extend(link.map(|n| (n, (content.clone(), seen, found.path.clone()))));
                                content
                            }
                        },
                    };
                    Kind::File(content)
                }
            };
            let mut print = Print::of(&look, scan.began, self.slack_ms);
            let xattrs = self.xattrs(found, before, &print)?;
            // Whatever could not be read is tried again by the next look, even if it looks the same.
            print.suspect |= self.troubles.has(&found.path);
            let (mode, uid, gid) = (look.mode, look.uid, look.gid);
            entries.push(Entry { path: found.path.clone(), kind, mode, uid, gid, mtime: look.mtime, xattrs });
            prints.push(print);
        }
        self.send_pack()?;
        drop_orphans(&mut entries, &mut prints);
        let root = &self.settings.root;
        let moved = self.read.iter().any(|(path, look)| !read::still(root, path, look));
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
            return Ok(Got::Content(keep(content), found.look));
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
            Reading::Stable(look, content) => {
                self.read.push((found.path.clone(), look));
                return Ok(Got::Content(content, look));
            }
            Reading::Gone => {
                self.gone += 1;
                return Ok(Got::Nothing);
            }
            Reading::Unstable => self.changes(&found.path, old.is_some()),
            Reading::Unreadable(error) => self.unreadable(&found.path, &error, old.is_some()),
        }
        let Some(content) = old else { return Ok(Got::Nothing) };
        Ok(Got::Content(Content { unstable: true, ..keep(content) }, found.look))
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

/// Whether a file is what it was when it was last read, as far as `stat` can tell for sure.
fn is_unchanged(look: &Look, entry: &Entry, print: &Print) -> bool {
    let same = print.ino == look.ino && print.ctime == look.ctime && entry.mtime == look.mtime;
    match &entry.kind {
        Kind::File(content) => {
            look.kind == FileType::RegularFile && same && !print.suspect && content.size == look.size
        }
        Kind::Dir => look.kind == FileType::Directory,
        Kind::Symlink { .. } => look.kind == FileType::Symlink && same,
        Kind::Fifo => look.kind == FileType::Fifo && same,
    }
}
