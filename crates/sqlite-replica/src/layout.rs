//! Where things lie in a replica: Litestream 0.5's names, and our side objects beside them.
//!
//! Litestream names levels `0000`…`0009` under an S3 prefix and `ltx/0`…`ltx/9` under a directory; both hold files named
//! `<min>-<max>.ltx`, and every client ignores anything else. Our side objects live under `highwater/`.

use ltx::{FileName, Txid};
use store::Kind;

/// Compaction level: 0 holds one file per sync, 9 holds snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

impl Level {
    /// One file per sync.
    pub const SYNC: Level = Level(0);
    /// Full images.
    pub const SNAPSHOT: Level = Level(9);
}

/// Names below a replica's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `0000/<name>`: S3.
    Prefix,
    /// `ltx/0/<name>`: directories.
    Directory,
}

/// Side object that says whose replica this is; created once.
pub const LINEAGE_KEY: &str = "highwater/lineage.json";

/// Empty side objects that name the level 0 files which hold every page of the database.
const IMAGES: &str = "highwater/images/";

/// Side object that says up to where the replica was read back and found right; overwritten.
pub const PROVEN_KEY: &str = "highwater/proven.json";

/// Empty side objects that say the same by their names, for a writer that may not read.
pub(crate) const PROOFS: &str = "highwater/proven/";

/// Side object that says: the chain was read back up to `txid`.
pub(crate) fn proven_key(txid: Txid) -> String {
    format!("{PROOFS}{txid}")
}

/// The TXID of a [`proven_key`].
pub(crate) fn parse_proven(key: &str) -> Option<Txid> {
    key.strip_prefix(PROOFS)?.parse().ok()
}

/// Side object that says: the level 0 file `txid` is a full image.
pub(crate) fn image_key(txid: Txid) -> String {
    format!("{IMAGES}{txid}")
}

/// The TXID of an [`image_key`].
pub(crate) fn parse_image(key: &str) -> Option<Txid> {
    key.strip_prefix(IMAGES)?.parse().ok()
}

impl Layout {
    /// The layout Litestream would look for in this kind of store.
    pub fn of(kind: Kind) -> Layout {
        match kind {
            Kind::File => Layout::Directory,
            Kind::S3 | Kind::Memory => Layout::Prefix,
        }
    }

    /// Key of an LTX file.
    pub fn key(self, level: Level, name: FileName) -> String {
        match self {
            Layout::Prefix => format!("{:04x}/{name}", level.0),
            Layout::Directory => format!("ltx/{}/{name}", level.0),
        }
    }

    /// Key of the level 0 file of one sync.
    pub fn sync_key(self, txid: Txid) -> String {
        self.key(Level::SYNC, FileName { min: txid, max: txid })
    }

    /// The level and name of a key, or `None` if it is not an LTX file of this layout.
    pub fn parse(self, key: &str) -> Option<(Level, FileName)> {
        let (dir, name) = key.rsplit_once('/')?;
        let level = match self {
            Layout::Prefix if dir.len() == 4 => u8::from_str_radix(dir, 16).ok()?,
            Layout::Directory => dir.strip_prefix("ltx/")?.parse().ok()?,
            Layout::Prefix => return None,
        };
        (level <= Level::SNAPSHOT.0).then_some(())?;
        Some((Level(level), name.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_litestreams() {
        let t = Txid::new(0x1f).unwrap();
        assert_eq!(Layout::Prefix.sync_key(t), "0000/000000000000001f-000000000000001f.ltx");
        assert_eq!(Layout::Directory.sync_key(t), "ltx/0/000000000000001f-000000000000001f.ltx");
        for layout in [Layout::Prefix, Layout::Directory] {
            assert_eq!(layout.parse(&layout.sync_key(t)), Some((Level::SYNC, FileName { min: t, max: t })));
        }
        for foreign in [
            "0000/x.ltx",
            "lock.json",
            "highwater/lineage.json",
            "000a/0000000000000001-0000000000000001.ltx",
            "generations/0/x",
        ] {
            assert_eq!(Layout::Prefix.parse(foreign), None, "{foreign}");
        }
    }
}
