//! Packs: small files together in one `tar.zst[.age]`, so that a change is one PUT and a restore a handful of GETs.
//!
//! Members are named by the path a file had when it was packed and carry mode, owner, nanosecond mtime and attributes as PAX
//! records, so `tar x` of a pack gives usable files. Which member is current, and where it belongs, only a manifest says.
//! A pack is built in memory (P7: at most [`PACK_RAW`] of content and one file more).

use crate::chest::{self, Chest, Digesting};
use crate::entry::{Digest, Entry, Xattr};
use crate::manifest::Object;
use crate::path::RelPath;
use crate::{Error, Result};
use bytes::Bytes;
use seal::{Identities, Protection};
use std::collections::HashSet;
use std::io::Read;

/// Bytes of content after which a pack is closed. 128 MiB of small files fit into 13 packs, which leaves room for increments
/// below the 16 that compaction allows.
pub(crate) const PACK_RAW: u64 = 10 << 20;
/// Files above this size are objects of their own.
pub(crate) const SMALL: u64 = 4 << 20;
/// Bytes of tar, headers included, after which a pack is closed: a member of a few bytes takes two kilobytes of them, so a pack of many
/// tiny files is ten times its content.
const PACK_TAR: u64 = 256 << 20;
/// No pack is larger than this when opened; what is, is no pack, and never read as if it ended here.
const LARGEST: u64 = 1 << 30;

/// A pack being built.
pub(crate) struct Packer {
    tar: tar::Builder<Chest<Digesting<Vec<u8>>>>,
    key: String,
    raw: u64,
    /// About what the archive is when opened.
    tar_bytes: u64,
    members: HashSet<RelPath>,
}

/// A finished pack: its description and its bytes.
pub(crate) struct Packed {
    pub(crate) object: Object,
    pub(crate) body: Bytes,
}

impl Packer {
    pub(crate) fn new(key: String, protection: &Protection) -> Result<Packer> {
        // Room for all of it at once: a buffer that grows is there twice while it does. What is never written takes no memory.
        let body = Vec::with_capacity((PACK_RAW + SMALL) as usize);
        let chest = Chest::new(Digesting::new(body), protection).map_err(Error::seal(&key))?;
        Ok(Packer { tar: tar::Builder::new(chest), key, raw: 0, tar_bytes: 0, members: HashSet::new() })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.raw >= PACK_RAW || self.tar_bytes >= PACK_TAR
    }

    /// Adds a file under its path.
    pub(crate) fn add(&mut self, entry: &Entry, bytes: &[u8]) -> Result<()> {
        debug_assert!(self.members.insert(entry.path.clone()), "{} twice in one pack", entry.path);
        self.raw += bytes.len() as u64;
        let attributes: usize = entry.xattrs.iter().map(|x| x.name.len() + x.value.len() + 64).sum();
        self.tar_bytes +=
            (2048 + entry.path.as_bytes().len() + attributes + bytes.len().next_multiple_of(512)) as u64;
        append(&mut self.tar, entry, bytes.len() as u64, bytes)
            .map_err(|e| Error::seal(&self.key)(seal::Error::Io(e)))
    }

    pub(crate) fn finish(self) -> Result<Packed> {
        let io = |e| Error::seal(&self.key)(seal::Error::Io(e));
        let chest = self.tar.into_inner().map_err(io)?;
        let (body, size, sha256) = chest.finish().map_err(Error::seal(&self.key))?.digest();
        let object = Object { key: self.key, size, sha256, raw: self.raw };
        Ok(Packed { object, body: body.into() })
    }
}

/// Writes one regular file as a tar member.
pub(crate) fn append<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    entry: &Entry,
    size: u64,
    content: impl Read,
) -> std::io::Result<()> {
    let mut header = header_of(entry, tar::EntryType::Regular);
    header.set_size(size);
    let long = header.set_path(entry.path.as_path()).is_err();
    if long {
        header.set_path("long-name")?;
    }
    append_pax(tar, entry, long.then(|| entry.path.as_bytes()), None)?;
    header.set_cksum();
    tar.append(&header, content)
}

/// A header with everything but name, size and checksum.
pub(crate) fn header_of(entry: &Entry, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(entry.mode);
    header.set_uid(u64::from(entry.uid));
    header.set_gid(u64::from(entry.gid));
    header.set_mtime(u64::try_from(entry.mtime.sec).unwrap_or(0));
    header.set_size(0);
    header
}

/// The PAX records of a member: what the header has no room for.
pub(crate) fn append_pax<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    entry: &Entry,
    path: Option<&[u8]>,
    target: Option<&[u8]>,
) -> std::io::Result<()> {
    let mtime = entry.mtime.text();
    let attributes: Vec<(String, &[u8])> = entry.xattrs.iter().filter_map(pax_attribute).collect();
    let mut records: Vec<(&str, &[u8])> = vec![("mtime", mtime.as_bytes())];
    records.extend(path.map(|p| ("path", p)));
    records.extend(target.map(|t| ("linkpath", t)));
    records.extend(attributes.iter().map(|(name, value)| (name.as_str(), *value)));
    tar.append_pax_extensions(records)
}

fn pax_attribute(x: &Xattr) -> Option<(String, &[u8])> {
    let name = std::str::from_utf8(&x.name).ok().filter(|n| !n.contains('='))?;
    Some((format!("SCHILY.xattr.{name}"), x.value.as_slice()))
}

/// Gives every member of a pack to `take`: its name and its bytes, which lie in one buffer that is used for all.
pub(crate) fn unpack(
    object: &Object,
    body: &[u8],
    sealed: bool,
    identities: Option<&Identities>,
    mut take: impl FnMut(RelPath, &[u8]) -> Result<()>,
) -> Result<()> {
    let damaged = |e: std::io::Error| Error::damaged(format!("{}: {e}", object.key));
    let reader = chest::open(body, sealed, identities, &object.key)?;
    let mut archive = tar::Archive::new(reader.take(LARGEST));
    let mut bytes = Vec::new();
    for member in archive.entries().map_err(damaged)? {
        let mut member = member.map_err(damaged)?;
        let name = RelPath::new(member.path_bytes().into_owned())
            .map_err(|why| Error::damaged(format!("{}: {why}", object.key)))?;
        if member.header().entry_type() != tar::EntryType::Regular || member.size() > SMALL {
            return Err(Error::damaged(format!("{}: {name} is no small file", object.key)));
        }
        bytes.clear();
        member.read_to_end(&mut bytes).map_err(damaged)?;
        take(name, &bytes)?;
    }
    // The end of the object is proven only when it was read.
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(damaged)?;
    match rest.limit() {
        0 => Err(Error::damaged(format!("{}: it is larger than any pack", object.key))),
        _ => Ok(()),
    }
}

/// The digest of content that was read from a pack must be the one its manifest has.
pub(crate) fn prove(place: &str, path: &RelPath, bytes: &[u8], want: &Digest) -> Result<()> {
    if Digest::of(bytes) == *want {
        return Ok(());
    }
    Err(Error::damaged(format!("{place}: {path} is not the file that was stored")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Content, Kind, Time};

    fn entry(path: &[u8], bytes: &[u8]) -> Entry {
        let content = Content {
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
            object: Some(0),
            member: None,
            link: None,
            sparse: false,
            unstable: false,
        };
        Entry {
            path: RelPath::new(path).unwrap(),
            kind: Kind::File(content),
            mode: 0o640,
            uid: 1000,
            gid: 3_000_000,
            mtime: Time { sec: 1_700_000_000, nsec: 123_456_789 },
            xattrs: vec![Xattr { name: b"user.note".to_vec(), value: b"a=b\nc\0".to_vec() }],
        }
    }

    #[test]
    fn long_and_strange_names_survive_a_pack() {
        let long = format!("{}/{}", "d".repeat(255), "f".repeat(255));
        let names: [&[u8]; 4] = [b"plain", b"caf\xe9", long.as_bytes(), "grün/ß".as_bytes()];
        let mut packer = Packer::new("p/w-000.tar.zst".into(), &Protection::Plain).unwrap();
        for (i, name) in names.iter().enumerate() {
            packer.add(&entry(name, &vec![i as u8; i * 1000]), &vec![i as u8; i * 1000]).unwrap();
        }
        let packed = packer.finish().unwrap();
        assert_eq!((packed.object.raw, packed.object.size), (6000, packed.body.len() as u64));
        assert_eq!(packed.object.sha256, Digest::of(&packed.body));
        let mut seen = Vec::new();
        unpack(&packed.object, &packed.body, false, None, |name, bytes| {
            seen.push((name.as_bytes().to_vec(), bytes.len()));
            Ok(())
        })
        .unwrap();
        let want: Vec<_> = names.iter().enumerate().map(|(i, n)| (n.to_vec(), i * 1000)).collect();
        assert_eq!(seen, want);
    }

    /// Forty-five thousand files of a few bytes are 88 MiB of headers.
    #[test]
    fn p1_a_pack_of_very_many_tiny_files_is_read_to_its_end() {
        let mut packer = Packer::new("p/w-000.tar.zst".into(), &Protection::Plain).unwrap();
        for i in 0..45_000 {
            packer.add(&entry(format!("d/{i}").as_bytes(), b"x"), b"x").unwrap();
        }
        assert!(!packer.is_full(), "one pack, one request");
        let packed = packer.finish().unwrap();
        let mut seen = 0;
        unpack(&packed.object, &packed.body, false, None, |_, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 45_000);
    }

    #[test]
    fn p2_a_cut_pack_is_damage() {
        let mut packer = Packer::new("p/w-000.tar.zst".into(), &Protection::Plain).unwrap();
        packer.add(&entry(b"a", b"abc"), b"abc").unwrap();
        let packed = packer.finish().unwrap();
        for cut in [0, 10, packed.body.len() - 1] {
            let error = unpack(&packed.object, &packed.body[..cut], false, None, |_, _| Ok(())).unwrap_err();
            assert_eq!(error.class(), crate::Class::Damaged, "cut at {cut}");
        }
    }
}
