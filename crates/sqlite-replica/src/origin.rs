//! Where a database file came from: the note that a restore by hand leaves beside it, so that a writer may go on from the file although
//! its application has committed to it meanwhile (decision 0007).
//!
//! `.highwater/<database>/origin.json`, durable before the restored file gets its name. A writer believes it only if every guard
//! holds: it is about this very file (not another one of the name), which is still what was restored, with what SQLite has
//! written to it since; it is about this very history; and nobody has written to the replica since it was listed. So a note
//! is good once: whoever goes on from it moves the replica on. What it allows is no more than `--adopt` does, a claim and a full
//! image behind everything that is there (P3, P4).

use crate::catalogue::Catalogue;
use crate::claim::look_at;
use crate::error::{Error, Result};
use crate::write::Remote;
use ltx::checksum::page_checksum;
use ltx::{Extension, Txid};
use serde::{Deserialize, Serialize};
use sqlite_tail::FileIdentity;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, chown};
use std::path::Path;
use store::Store;

const NAME: &str = "origin.json";
const FORMAT: u32 = 1;
/// Of fewer pages nothing is concluded.
const FEW: usize = 8;
/// This part of the pages that were restored must still be there.
const PART: usize = 8;
/// Where a database's header counts its changes; SQLite never counts backwards.
const CHANGES: u64 = 24;

/// The history that a restore by hand reads, as it stood when it was listed.
#[derive(Debug, Clone, Copy)]
pub struct Descent {
    lineage: u64,
    newest: Txid,
    stamp: Extension,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// The point.
    pub(crate) txid: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) page_size: u32,
    pub(crate) pages: u32,
    pub(crate) rolling: u64,
    pub(crate) sample: Sample,
}

/// Checksums of a bounded number of pages, evenly spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The pages of these numbers: this one, twice this one, and so on.
    pub(crate) every: u32,
    /// 0 where there is no page.
    pub(crate) sums: Vec<u64>,
}

/// The note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    format: u32,
    lineage: u64,
    /// The newest file of the replica when it was listed, and who wrote it.
    newest: u64,
    epoch: u32,
    write_id: [u8; 6],
    #[serde(flatten)]
    pub(crate) content: Content,
    /// The file.
    inode: u64,
    born_ms: Option<i64>,
    changes: u32,
}

impl Descent {
    /// Of a replica that was listed; `None` if its newest file is not one of ours, so that nothing could be said of it later.
    pub async fn of(store: &Store, catalogue: Catalogue) -> Result<Option<Descent>> {
        let Remote { lineage, newest, stamp } = look_at(store, catalogue, None, None).await?.remote;
        let descent = lineage.zip(newest).zip(stamp);
        let descent = descent.map(|((lineage, newest), stamp)| Descent { lineage, newest, stamp });
        Ok(descent.filter(|descent| descent.stamp.lineage == descent.lineage))
    }

    /// Leaves the note for `file`, which holds `content` and is about to become `database`.
    pub(crate) fn leave(
        &self,
        content: Content,
        file: &File,
        database: &Path,
        state_dir: &Path,
    ) -> Result<()> {
        let meta = file.metadata().map_err(Error::io(database, "look at"))?;
        let FileIdentity { inode, born_ms } = FileIdentity::of(&meta);
        let mut changes = [0; 4];
        file.read_exact_at(&mut changes, CHANGES).map_err(Error::io(database, "read"))?;
        let origin = Origin {
            format: FORMAT,
            lineage: self.lineage,
            newest: self.newest.get(),
            epoch: self.stamp.epoch,
            write_id: self.stamp.write_id,
            content,
            inode,
            born_ms,
            changes: u32::from_be_bytes(changes),
        };
        origin.save(database, state_dir)
    }
}

impl Origin {
    /// The note of a volume, if there is one that can be read.
    pub(crate) fn load(state_dir: &Path) -> Option<Origin> {
        let text = fs::read(state_dir.join(NAME)).ok()?;
        serde_json::from_slice(&text).ok().filter(|origin: &Origin| origin.format == FORMAT)
    }

    /// It has served, or says nothing any more.
    pub(crate) fn forget(state_dir: &Path) {
        // One that stays is not believed again: the replica has moved on.
        let _ = fs::remove_file(state_dir.join(NAME));
    }

    /// Whether the file is the one that was restored, with what SQLite has written to it since; or why that is not known. `page` reads a
    /// page of the file.
    pub(crate) fn check_file(
        &self,
        now: FileIdentity,
        page_size: u32,
        mut page: impl FnMut(u32, &mut [u8]) -> Result<()>,
    ) -> Result<(), &'static str> {
        if (now.inode, now.born_ms) != (self.inode, self.born_ms) {
            return Err("it is about another file");
        }
        if page_size != self.content.page_size {
            return Err("the pages have another size");
        }
        let mut bytes = vec![0; page_size as usize];
        page(1, &mut bytes).map_err(|_| "the database cannot be read")?;
        let at = CHANGES as usize;
        let changes = u32::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        if changes.wrapping_sub(self.changes) > u32::MAX / 2 {
            return Err("the file counts fewer changes than when it was restored");
        }
        let Sample { every, sums } = &self.content.sample;
        let (mut seen, mut same) = (0, 0);
        for (pgno, sum) in (1..).map(|n| n * every).zip(sums).filter(|(_, sum)| **sum != 0) {
            seen += 1;
            // A database that became smaller has lost those beyond.
            let there = page(pgno, &mut bytes).is_ok();
            same += usize::from(there && page_checksum(pgno, &bytes) == *sum);
        }
        if seen >= FEW && same < seen / PART {
            return Err("most of the file is not what was restored: it was written from outside sqlite");
        }
        Ok(())
    }

    /// Whether the replica is the one that was restored from, and nobody has written to it since.
    pub(crate) fn check_replica(&self, remote: &Remote) -> Result<(), &'static str> {
        if remote.lineage != Some(self.lineage) {
            return Err("it is about another replica");
        }
        let stamp = Extension { epoch: self.epoch, lineage: self.lineage, write_id: self.write_id };
        if remote.newest.map(Txid::get) != Some(self.newest) || remote.stamp != Some(stamp) {
            return Err("the replica was written to after the restore");
        }
        Ok(())
    }

    /// Whether there is a note that holds for a database nobody has open, and for the replica as it is seen now. Why one does not is told.
    pub(crate) fn holds(database: &Path, state_dir: &Path, remote: &Remote) -> Result<bool> {
        let Some(origin) = Origin::load(state_dir) else { return Ok(false) };
        let file = File::open(database).map_err(Error::io(database, "open"))?;
        let now = FileIdentity::of(&file.metadata().map_err(Error::io(database, "look at"))?);
        let mut head = [0; 100];
        file.read_exact_at(&mut head, 0).map_err(Error::io(database, "read"))?;
        // Zero is the size of nothing that was restored.
        let size = sqlite_tail::page_size(&head).unwrap_or(0);
        let page = |pgno: u32, into: &mut [u8]| {
            let read = file.read_exact_at(into, u64::from(pgno - 1) * u64::from(size));
            read.map_err(Error::io(database, "read"))
        };
        let checked = origin.check_file(now, size, page);
        let checked = checked.and_then(|()| origin.check_replica(remote));
        if let Err(why) = checked {
            tracing::warn!(db = %database.display(), why, "the note of the last restore by hand is not believed");
        }
        Ok(checked.is_ok())
    }

    fn save(&self, database: &Path, state_dir: &Path) -> Result<()> {
        let owner = owner(database, state_dir)?;
        create(state_dir, owner)?;
        let (path, new) = (state_dir.join(NAME), state_dir.join(format!("{NAME}.new")));
        let text = serde_json::to_string(self).expect("plain fields serialise");
        let written = || -> io::Result<()> {
            let options = File::options().write(true).create(true).truncate(true).mode(0o600).clone();
            let mut file = options.open(&new)?;
            give(&new, owner)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(state_dir)?.sync_all()
        };
        written().map_err(Error::io(&path, "write"))
    }
}

/// Uid and gid.
type Ids = (u32, u32);

/// Whoever the streamer will be. It runs as the owner of the database, and could not use a directory that a restore by root had made
/// for itself; where nobody can tell who that is, there is to be none.
fn owner(database: &Path, state_dir: &Path) -> Result<Option<Ids>> {
    let parent = crate::restore::parent(database);
    let of = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.uid(), meta.gid()));
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let ids = of(state_dir).or(of(database)).or(of(parent));
    let shared = fs::metadata(parent).is_ok_and(|meta| meta.mode() & 0o022 != 0);
    match ids {
        Some((0, _)) if shared && of(state_dir).is_none() => Err(Error::Io {
            path: state_dir.to_owned(),
            doing: "create the state directory",
            source: io::Error::other("we are root, and nobody knows who the application will be"),
        }),
        ids => Ok(ids),
    }
}

/// The directory and the one above it, for their owner alone.
fn create(state_dir: &Path, owner: Option<Ids>) -> Result<()> {
    for dir in [crate::restore::parent(state_dir), state_dir] {
        let made = match fs::DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => give(dir, owner),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        };
        made.map_err(Error::io(dir, "create the state directory"))?;
    }
    Ok(())
}

fn give(path: &Path, owner: Option<Ids>) -> io::Result<()> {
    owner.map_or(Ok(()), |(uid, gid)| chown(path, Some(uid), Some(gid)))
}

#[cfg(test)]
mod tests;
