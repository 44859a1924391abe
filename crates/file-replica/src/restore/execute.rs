//! Executing a plan: journal, packs in parallel, links, directories, marker; in this order.
//!
//! Per pack: fetch, prove the stored bytes, unpack, prove every file, write all under temporary names, sync the file system once,
//! rename. Memory is bounded by the packs in flight (P7). A second run after a crash finds the journal, keeps what is already
//! exactly as it must be, and does the rest. Of a whole tree the result is exact: what does not belong is moved aside.

use super::plan::RestorePlan;
use super::tree::{Sparse, Staged, Tree};
use super::{Journal, is_unfinished};
use crate::catalogue::read_object;
use crate::chest;
use crate::entry::{Content, Entry, Kind};
use crate::filter::Filter;
use crate::home::{Home, Marker};
use crate::layout::{PACKS, Seq};
use crate::manifest::{Manifest, Object};
use crate::pack::{prove, unpack};
use crate::path::RelPath;
use crate::read;
use crate::scan::{Look, Scanner};
use crate::state::{Print, State};
use crate::steps::Steps;
use crate::write::blocking;
use crate::{Error, Result};
use clock::Clock;
use futures::stream::{self, StreamExt, TryStreamExt};
use rustix::fs::FileType;
use seal::Identities;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::Store;

/// How a restore is carried out.
#[derive(Debug, Clone)]
pub struct Options {
    /// Objects in flight; each may hold a pack in memory.
    pub parallelism: usize,
    /// Restore over files that are there; they are moved aside.
    pub force: bool,
    /// What does not belong to the tree and is left alone (databases always are).
    pub filter: Filter,
    /// Claim to write into the marker; 0 by hand.
    pub epoch: Seq,
    /// Where tests pull the plug.
    pub steps: Steps,
}

impl Default for Options {
    fn default() -> Self {
        let filter = Filter::new(&[]).expect("no pattern cannot be wrong");
        Self { parallelism: 4, force: false, filter, epoch: 0, steps: Steps::default() }
    }
}

/// What has been done so far, for a progress bar.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// Stored bytes that were fetched and written.
    pub fn fetched(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a restore did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: Seq,
    /// When it was committed.
    pub time: String,
    /// Entries of the result.
    pub entries: u64,
    /// Bytes of content of the result.
    pub bytes: u64,
    /// Files that were in place already.
    pub kept: u64,
    /// Things that were moved aside.
    pub moved_aside: u64,
    /// Where they are.
    pub aside: Option<String>,
    /// Entries whose owner this user may not set.
    pub foreign_owner: u64,
    /// Attributes this user or file system may not set.
    pub lost_attributes: u64,
}

struct Run<'a> {
    store: &'a Store,
    plan: &'a RestorePlan,
    identities: Option<Arc<Identities>>,
    options: &'a Options,
    progress: Arc<Progress>,
    tree: Arc<Tree>,
}

/// Carries out a plan in `target`, which is created if it is not there.
pub async fn restore(
    store: &Store,
    plan: &RestorePlan,
    target: &Path,
    identities: Option<Arc<Identities>>,
    options: &Options,
    clock: &dyn Clock,
    progress: Arc<Progress>,
) -> Result<Restored> {
    std::fs::create_dir_all(target).map_err(Error::io(target, "create"))?;
    let home = Home::of(target);
    let _lock = home.lock()?;
    let resuming = is_unfinished(&home)?;
    if resuming && !plan.whole {
        return Err(Error::refused("a restore of the whole tree is not finished here", "finish it first"));
    }
    let filter = options.filter.clone();
    let scan_root = target.to_owned();
    let scan =
        blocking(move || Scanner::new(&scan_root).scan(&filter, crate::Time::default(), &mut |_| {})).await?;
    let there: Vec<(RelPath, Look)> = scan.found.into_iter().map(|f| (f.path, f.look)).collect();
    let (keep, aside) = sort_out(plan, target, &there)?;
    let has_files = there.iter().any(|(_, look)| look.kind != FileType::Directory);
    let in_the_way = if plan.whole { has_files } else { !aside.is_empty() };
    if in_the_way && !resuming && !options.force {
        return Err(Error::refused(
            format!("{} is not empty", target.display()),
            "choose an empty directory, or restore over it with --force (what is replaced is moved aside)",
        ));
    }
    let set_aside = match Journal::load(&home)? {
        Some(journal) => journal.set_aside,
        None => format!(
            "{}-before-{}",
            clock::format_unix_ms(clock.unix_ms()).replace(':', "-"),
            plan.head.number
        ),
    };
    options.steps.at("write the journal")?;
    if plan.whole {
        let (lineage, snapshot) = (plan.head.lineage.clone(), plan.head.number);
        Journal { format: 1, lineage, snapshot, set_aside: set_aside.clone() }.save(&home)?;
    }
    options.steps.at("move aside")?;
    let moved_aside = move_aside(&home, target, &set_aside, &aside)?;
    let tree = Arc::new(Tree::open(target, home.stage())?);
    let run = Run { store, plan, identities, options, progress, tree: tree.clone() };
    run.write(&keep).await?;
    let restored = Restored {
        snapshot: plan.head.number,
        time: plan.head.time.clone(),
        entries: plan.wanted.len() as u64,
        bytes: plan.bytes(),
        kept: keep.len() as u64,
        moved_aside,
        aside: (moved_aside > 0).then(|| home.set_aside(&set_aside).display().to_string()),
        foreign_owner: tree.foreign.load(Ordering::Relaxed),
        lost_attributes: tree.lost_xattrs.load(Ordering::Relaxed),
    };
    let stage = home.stage();
    std::fs::remove_dir_all(&stage).map_err(Error::io(&stage, "remove"))?;
    if plan.whole {
        finish(&home, plan, options)?;
    }
    if restored.foreign_owner > 0 {
        tracing::warn!(entries = restored.foreign_owner, "owners could not be set by this user");
    }
    Ok(restored)
}

/// State, marker, journal; the marker says that the tree is whole, so it comes after everything and before the journal goes.
fn finish(home: &Home, plan: &RestorePlan, options: &Options) -> Result<()> {
    options.steps.at("write the state")?;
    let prints = plan
        .manifest
        .entries
        .iter()
        .map(|entry| match rustix::fs::lstat(home.root().join(entry.path.as_path())) {
            Ok(stat) => Print::fresh(&stat.into()),
            Err(_) => Print { ino: 0, ctime: crate::Time::default(), suspect: true },
        })
        .collect();
    let number = plan.head.number;
    let heads = BTreeMap::from([(number, plan.head.clone())]);
    State { manifest: plan.manifest.clone(), prints, last_number: number, heads }.save(home)?;
    options.steps.at("write the marker")?;
    home.set_marker(&Marker::new(&plan.head.lineage, number, options.epoch.max(plan.head.epoch)))?;
    options.steps.at("remove the journal")?;
    Journal::remove(home)
}

/// What is there already and stays, and what has to go: everything else of a whole tree, what is in the way of a part.
fn sort_out(
    plan: &RestorePlan,
    target: &Path,
    there: &[(RelPath, Look)],
) -> Result<(HashSet<RelPath>, Vec<RelPath>)> {
    let wanted: HashMap<&RelPath, &Entry> = plan.entries().map(|e| (&e.path, e)).collect();
    let (mut keep, mut aside) = (HashSet::new(), Vec::new());
    for (path, look) in there {
        let stays = match wanted.get(path) {
            Some(entry) => is_in_place(entry, look, target)?,
            None => !plan.whole,
        };
        match (stays, look.kind) {
            // A directory that does not belong goes when it is empty; see `move_aside`.
            (false, FileType::Directory) if !wanted.contains_key(path) => {}
            (false, _) => aside.push(path.clone()),
            (true, FileType::RegularFile) if wanted.contains_key(path) => {
                keep.insert(path.clone());
            }
            (true, _) => {}
        }
    }
    if plan.whole {
        let dirs = there.iter().filter(|(p, l)| l.kind == FileType::Directory && !wanted.contains_key(p));
        aside.extend(dirs.map(|(p, _)| p.clone()));
    }
    Ok((keep, aside))
}

fn is_in_place(entry: &Entry, look: &Look, target: &Path) -> Result<bool> {
    Ok(match &entry.kind {
        Kind::Dir => look.kind == FileType::Directory,
        Kind::Symlink { target: to } => {
            look.kind == FileType::Symlink
                && rustix::fs::readlink(target.join(entry.path.as_path()), Vec::new())
                    .is_ok_and(|t| t.as_bytes() == to)
        }
        Kind::Fifo => look.kind == FileType::Fifo,
        Kind::File(content) => {
            let alike = look.kind == FileType::RegularFile
                && look.size == content.size
                && (look.mtime, look.mode, look.uid, look.gid)
                    == (entry.mtime, entry.mode, entry.uid, entry.gid)
                && content.link.is_none();
            alike
                && matches!(read::digest(target, &entry.path, None)?, read::Reading::Stable(_, d) if d == content.sha256)
        }
    })
}

/// Renames what has to go below `set-aside/`; directories that are left empty are removed.
fn move_aside(home: &Home, target: &Path, name: &str, aside: &[RelPath]) -> Result<u64> {
    let base = home.set_aside(name);
    let mut moved = 0;
    for path in aside {
        let from = target.join(path.as_path());
        let look = match rustix::fs::lstat(&from) {
            Ok(stat) => Look::from(stat),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => continue,
            Err(errno) => return Err(Error::sys(&from, "look at")(errno)),
        };
        if look.kind == FileType::Directory {
            continue;
        }
        let to = base.join(path.as_path());
        let parent = to.parent().unwrap_or(&base);
        std::fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
        std::fs::rename(&from, &to).map_err(Error::io(&from, "move aside"))?;
        moved += 1;
    }
    for path in aside.iter().rev() {
        // Fails where a database or something excluded lives in it, as it should.
        let _ = std::fs::remove_dir(target.join(path.as_path()));
    }
    Ok(moved)
}

impl Run<'_> {
    async fn write(&self, keep: &HashSet<RelPath>) -> Result<()> {
        let steps = &self.options.steps;
        for entry in self.plan.entries().filter(|e| e.is_dir()) {
            steps.at("make a directory")?;
            self.tree.make_dir(&entry.path)?;
        }
        let mut first_names: HashMap<u32, RelPath> = HashMap::new();
        let mut later_names: Vec<(&Entry, RelPath)> = Vec::new();
        let mut by_object: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        let mut empty: Vec<&Entry> = Vec::new();
        for entry in self.plan.entries() {
            let Kind::File(content) = &entry.kind else { continue };
            if let Some(link) = content.link {
                if let Some(first) = first_names.get(&link) {
                    later_names.push((entry, first.clone()));
                    continue;
                }
                first_names.insert(link, entry.path.clone());
            }
            match content.object {
                _ if keep.contains(&entry.path) => {}
                None => empty.push(entry),
                Some(object) => by_object.entry(object).or_default().push(entry.clone()),
            }
        }
        let parallelism = self.options.parallelism.max(1);
        stream::iter(by_object.into_iter().map(Ok::<_, Error>))
            .try_for_each_concurrent(parallelism, |(object, entries)| self.fetch(object, entries))
            .await?;
        for entry in empty {
            steps.at("write an empty file")?;
            let Kind::File(content) = &entry.kind else { continue };
            let staged = self.tree.stage(entry, content, b"")?;
            self.tree.publish(staged)?;
        }
        for entry in self.plan.entries().filter(|e| matches!(e.kind, Kind::Symlink { .. } | Kind::Fifo)) {
            steps.at("make a link")?;
            self.tree.make_special(entry)?;
        }
        for (entry, first) in later_names {
            steps.at("link another name")?;
            self.tree.link(&first, entry)?;
        }
        let mut dirs: Vec<&Entry> = self.plan.entries().filter(|e| e.is_dir()).collect();
        dirs.reverse();
        for entry in dirs {
            steps.at("finish a directory")?;
            self.tree.dress_dir(entry)?;
        }
        self.tree.sync()
    }

    /// One object, and every file that is in it.
    async fn fetch(&self, at: u32, entries: Vec<Entry>) -> Result<()> {
        let object = self.plan.manifest.objects[at as usize].clone();
        self.options.steps.at("fetch an object")?;
        let staged = if object.key.starts_with(PACKS) {
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
            self.progress.0.fetch_add(size, Ordering::Relaxed);
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
                    self.progress.0.fetch_add(chunk.len() as u64, Ordering::Relaxed);
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

/// Whether a tree is what a manifest says, by content.
pub(crate) fn matches(manifest: &Manifest, root: &Path, filter: &Filter) -> Result<bool> {
    let scan = Scanner::new(root).scan(filter, crate::Time::default(), &mut |_| {})?;
    if scan.found.len() != manifest.entries.len() {
        return Ok(false);
    }
    for (found, entry) in scan.found.iter().zip(&manifest.entries) {
        let content_ok = match &entry.kind {
            Kind::File(content) => {
                found.look.kind == FileType::RegularFile
                    && found.look.size == content.size
                    && match read::digest(root, &found.path, None)? {
                        read::Reading::Stable(_, digest) => digest == content.sha256,
                        _ => false,
                    }
            }
            _ => is_in_place(entry, &found.look, root)?,
        };
        if found.path != entry.path || !content_ok {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The digest of everything a restore gives back, to compare trees.
#[cfg(test)]
pub(crate) fn fold(root: &Path) -> Vec<String> {
    let filter = Filter::new(&[]).expect("no pattern");
    let scan =
        Scanner::new(root).scan(&filter, crate::Time::default(), &mut |_| {}).expect("a readable tree");
    scan.found
        .iter()
        .map(|f| {
            let l = &f.look;
            let what = match l.kind {
                FileType::RegularFile => {
                    let bytes = std::fs::read(root.join(f.path.as_path())).expect("readable");
                    format!("{:?} {}", crate::Digest::of(&bytes), l.nlink)
                }
                FileType::Symlink => format!("{:?}", std::fs::read_link(root.join(f.path.as_path()))),
                _ => String::new(),
            };
            let mtime = if l.kind == FileType::Directory { String::new() } else { l.mtime.text() };
            let xattrs = read::xattrs(root, &f.path).expect("readable");
            format!("{} {:?} {:o} {} {} {mtime} {what} {xattrs:?}", f.path, l.kind, l.mode, l.uid, l.gid)
        })
        .collect()
}
