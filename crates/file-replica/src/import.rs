//! The way from an `rclone sync` mirror to a replica: the mirror is read into an empty directory, and a writer commits what is there then.
//!
//! The mirror is only listed and read, never written (P3), so that both can run side by side until somebody trusts the new one. A note
//! in the directory says that an import is under way: a writer that found half of it would commit half of it (P2). What the old
//! loop should not have stored is left out and counted: SQLite files by their header (copies of a live database are torn), Litestream's
//! directories, `lost+found`.

mod names;

use crate::chest::Digesting;
use crate::entry::{Content, Entry, Kind, Time, Xattr};
use crate::filter::OWN_DIR;
use crate::home::Home;
use crate::path::RelPath;
use crate::restore::Journal;
use crate::restore::tree::{Publisher, Stage, Staged, Tree};
use crate::scan::{Look, Scanner, is_database};
use crate::write::blocking;
use crate::{Error, Filter, Result};
use base64::Engine as _;
use futures::stream::{self, StreamExt, TryStreamExt};
use md5::{Digest as _, Md5};
pub(crate) use names::encode;
use names::{Name, decode};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use store::{ObjectMeta, Store};

/// User and group.
type Owner = (u32, u32);

/// Objects read side by side.
const AT_ONCE: usize = 8;
/// A link's target is below this.
const LONGEST_TARGET: u64 = 4096;
/// What the note of an import says instead of a history.
const NOTE: &str = "import";

/// What was imported.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// Files and links that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SQLite databases, WALs and journals that were left out.
    pub sqlite: u64,
    /// What else does not belong into a tree.
    pub left_out: u64,
}

/// Reads a mirror into an empty directory. `None` if the mirror holds nothing. Begun again after a crash it starts anew.
pub async fn import(mirror: &Store, root: &Path) -> Result<Option<Imported>> {
    std::fs::create_dir_all(root).map_err(Error::io(root, "create"))?;
    let home = Home::of(root);
    let _lock = home.lock()?;
    let again = match Journal::load(&home)? {
        None => false,
        Some(journal) if journal.lineage == NOTE => true,
        Some(_) => {
            return Err(Error::refused(
                format!("a restore into {} is not finished", root.display()),
                "choose an empty directory",
            ));
        }
    };
    let target = root.to_owned();
    let has_files = blocking(move || Scanner::new(&target).has_files(&Filter::new(&[])?)).await?;
    if home.marker()?.is_some() || (has_files && !again) {
        return Err(Error::refused(
            format!("{} is not empty", root.display()),
            "choose an empty directory; what is there already needs no import, only a snapshot",
        ));
    }
    let objects: Vec<ObjectMeta> = mirror.list("", None).try_collect().await?;
    if objects.is_empty() {
        return Ok(None);
    }
    Journal { format: 1, lineage: NOTE.into(), snapshot: 0, set_aside: String::new() }.save(&home)?;
    let tree = Tree::open(root, home.stage())?;
    let worker = tree.stage()?;
    let stage = home.stage();
    let ours = Look::from(rustix::fs::lstat(&stage).map_err(Error::sys(&stage, "look at"))?);
    let owner = (ours.uid, ours.gid);
    let mut done = Imported::default();
    let mut files = Vec::new();
    let mut dirs = BTreeSet::new();
    for object in objects {
        match decode(&object.key)? {
            Name::Directory(path) => add_dirs(&mut dirs, Some(path)),
            Name::File(path) if does_not_belong(&path) => done.left_out += 1,
            name => {
                add_dirs(&mut dirs, name.path().parent());
                files.push((name, object));
            }
        }
    }
    for dir in &dirs {
        tree.make_dir(dir)?;
    }
    let fetched: Vec<Option<Fetched>> = stream::iter(files)
        .map(|(name, object)| fetch(mirror, &tree, &worker, owner, name, object))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let databases: Vec<RelPath> =
        fetched.iter().flatten().filter(|f| f.is_sqlite).map(|f| f.path.clone()).collect();
    let mut publisher = Publisher::new(&tree, &worker);
    for one in fetched.into_iter().flatten() {
        let beside = |database: &RelPath| {
            let rest = one.path.as_bytes().strip_prefix(database.as_bytes());
            rest.is_some_and(|rest| matches!(rest, b"" | b"-wal" | b"-shm" | b"-journal"))
        };
        if databases.iter().any(beside) {
            done.sqlite += 1;
            continue;
        }
        done.files += 1;
        done.bytes += one.bytes;
        if let Some(staged) = one.staged {
            publisher.publish(staged)?;
        }
    }
    // Directories of a mirror have neither time nor mode.
    let now = home.file_system_time()?;
    for dir in dirs.iter().rev() {
        tree.dress_dir(&plain(owner, dir.clone(), Kind::Dir, 0o755, now))?;
    }
    tree.sync()?;
    std::fs::remove_dir_all(&stage).map_err(Error::io(&stage, "remove"))?;
    Journal::remove(&home)?;
    Ok(Some(done))
}

fn add_dirs(dirs: &mut BTreeSet<RelPath>, path: Option<RelPath>) {
    for dir in std::iter::successors(path, RelPath::parent) {
        dirs.insert(dir);
    }
}

/// Our own directory, Litestream's, and what a file system or the old loop left for itself.
fn does_not_belong(path: &RelPath) -> bool {
    let mut segments: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').collect();
    let name = segments.pop().unwrap_or_default();
    name.ends_with(b".dataangel-clean")
        || segments.iter().any(|dir| {
            *dir == OWN_DIR.as_bytes()
                || *dir == b"lost+found"
                || (dir.starts_with(b".") && dir.ends_with(b"-litestream"))
        })
}

/// One object under a temporary name, or a link in place.
struct Fetched {
    path: RelPath,
    bytes: u64,
    is_sqlite: bool,
    staged: Option<Staged>,
}

async fn fetch(
    mirror: &Store,
    tree: &Tree,
    stage: &Stage,
    owner: Owner,
    name: Name,
    object: ObjectMeta,
) -> Result<Option<Fetched>> {
    let got = match mirror.get(&object.key, None).await {
        // The old loop still runs and took it away since the listing.
        Err(store::Error::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let meta = got.meta.clone();
    let mtime = mtime(&meta);
    if let Name::Link(path) = name {
        if meta.size > LONGEST_TARGET {
            return Err(Error::damaged(format!("{}: {} bytes are no link", object.key, meta.size)));
        }
        let target = got.bytes().await?.to_vec();
        tree.make_special(&plain(owner, path.clone(), Kind::Symlink { target }, 0o777, mtime))?;
        return Ok(Some(Fetched { path, bytes: 0, is_sqlite: false, staged: None }));
    }
    let path = name.path().clone();
    let (number, file) = stage.temporary()?;
    let temporary = stage.place(number);
    let mut out = Digesting::new(file);
    let mut md5 = Md5::new();
    let mut stream = got.stream;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        md5.update(&chunk);
        out.write_all(&chunk).map_err(Error::io(&temporary, "write"))?;
    }
    let (file, size, sha256) = out.digest();
    check(&meta, size, &md5.finalize().into())?;
    let content =
        Content { size, sha256, object: None, member: None, link: None, sparse: false, unstable: false };
    let mut entry = plain(owner, path.clone(), Kind::File(content), 0o644, mtime);
    dress_by_metadata(&mut entry, &meta);
    let is_sqlite = is_database(stage.dir(), number.to_string().as_bytes());
    let staged = tree.finish(stage, number, &file, &entry)?;
    Ok(Some(Fetched { path, bytes: size, is_sqlite, staged: Some(staged) }))
}

/// The size, and the MD5 where the mirror has one: of a plain upload in the entity tag, of one in parts in rclone's own field.
fn check(meta: &ObjectMeta, size: u64, md5: &[u8; 16]) -> Result<()> {
    let in_hex = hex::encode(md5);
    let tag =
        meta.etag.as_deref().filter(|tag| tag.len() == 32 && tag.bytes().all(|b| b.is_ascii_hexdigit()));
    let field = meta.metadata.get("md5chksum").map(String::as_str);
    let wrong = match (field, tag) {
        _ if size != meta.size => true,
        (Some(field), _) => base64::engine::general_purpose::STANDARD.encode(md5) != field,
        (None, Some(tag)) => !tag.eq_ignore_ascii_case(&in_hex),
        (None, None) => false,
    };
    match wrong {
        true => Err(Error::damaged(format!("{}: its bytes are not those that rclone stored", meta.key))),
        false => Ok(()),
    }
}

/// `seconds.nanoseconds` as rclone writes it; a float would lose the nanoseconds. Without it, when the object was stored.
fn mtime(meta: &ObjectMeta) -> Time {
    let stored = Time {
        sec: meta.modified_ms.div_euclid(1000),
        nsec: meta.modified_ms.rem_euclid(1000) as u32 * 1_000_000,
    };
    let Some(text) = meta.metadata.get("mtime") else { return stored };
    let (sec, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nsec = format!("{:0<9}", &fraction[..fraction.len().min(9)]);
    match (sec.parse(), nsec.parse()) {
        (Ok(sec), Ok(nsec)) => Time { sec, nsec },
        _ => stored,
    }
}

/// What rclone itself says of a file with `--metadata`, and what it says of an object; every other field is an attribute of a user.
const OF_RCLONE: [&str; 13] = [
    "atime",
    "btime",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "gid",
    "md5chksum",
    "mode",
    "mtime",
    "rdev",
    "uid",
];

/// Mode, owner and extended attributes, which rclone keeps with `--metadata`.
fn dress_by_metadata(entry: &mut Entry, meta: &ObjectMeta) {
    let number =
        |name: &str, radix| meta.metadata.get(name).and_then(|text| u32::from_str_radix(text, radix).ok());
    entry.mode = number("mode", 8).map_or(entry.mode, |mode| mode & 0o7777);
    entry.uid = number("uid", 10).unwrap_or(entry.uid);
    entry.gid = number("gid", 10).unwrap_or(entry.gid);
    // Without `--metadata` nobody knows whose fields the others are.
    if meta.metadata.contains_key("mode") {
        let attributes = meta.metadata.iter().filter(|(name, _)| !OF_RCLONE.contains(&name.as_str()));
        entry.xattrs = attributes
            .map(|(name, value)| Xattr {
                name: format!("user.{name}").into_bytes(),
                value: value.clone().into_bytes(),
            })
            .collect();
        entry.xattrs.sort_unstable();
    }
}

/// Owned by whoever imports, as far as nothing else is said.
fn plain(owner: Owner, path: RelPath, kind: Kind, mode: u32, mtime: Time) -> Entry {
    let (uid, gid) = owner;
    Entry { path, kind, mode, uid, gid, mtime, xattrs: Vec::new() }
}

#[cfg(test)]
mod tests;
