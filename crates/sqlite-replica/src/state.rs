//! What a volume remembers of its replica, beside the database in `.highwater/<database>/`.
//!
//! One record in two slots of one file, written in turns: `<crc-64 of the JSON, 16 hex> <JSON>\n`, padded with spaces to 4 KiB.
//! The newer intact slot counts, so that a torn write costs nothing. The record is made durable before each PUT (the *intent*),
//! which is what lets a restart tell its own lost reply from another writer (P4) and resend identical bytes (P1).

mod directory;

pub use directory::StateDir;

use crate::identity::Identity;
use serde::{Deserialize, Serialize};
use sqlite_tail::Position;

/// Version of the record; a newer one is refused unchanged. 2 added `inherited` and `fenced`.
const FORMAT: u32 = 2;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this document.
    pub format: u32,
    /// Grows by one with each write; the larger one of the two slots counts.
    pub sequence: u64,
    /// URL of the replica, for messages.
    pub replica: String,
    /// Whose replica it is.
    pub identity: Identity,
    /// Id of the history.
    pub lineage: u64,
    /// Number of our claim.
    pub epoch: u32,
    /// Newest TXID known to be in the store; 0 = none yet.
    pub confirmed: u64,
    /// The object that was being written.
    pub intent: Option<Intent>,
    /// Everything below is the state after the intent, or after `confirmed` when there is none.
    pub mark: Option<Mark>,
    /// The claim that was made for this volume by the start of its pod; `None` where each start claims.
    #[serde(default)]
    pub inherited: Option<Inherited>,
    /// The claim was lost: nothing is written any more until somebody claims anew.
    #[serde(default)]
    pub fenced: Option<Lost>,
    /// Which file the database was; `None` where any file is to be believed.
    #[serde(default)]
    pub file: Option<FileMark>,
}

/// A database file as a writer left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Inode number.
    pub inode: u64,
    /// Time of creation, ms, where the file system knows it.
    pub born_ms: Option<i64>,
    /// Size and time of the last write (s, ns), if everything was in the file and nobody could write it.
    pub rested: Option<(u64, i64, i64)>,
    /// It was found to hold something else than it should: the next start compares it, whatever the WAL proves.
    pub suspect: bool,
}

/// A claim that a writer goes on under without having made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Its number.
    pub epoch: u32,
    /// Its TXID, 0 if the replica held no file.
    pub txid: u64,
    /// The database is known not to be the state of the claim: the first object is a full image.
    pub image: bool,
    /// What the database file is to the claim.
    pub data: Data,
    /// Rolling checksum of the claimed state, where no mark says it; 0 if it is not known.
    pub rolling: u64,
    /// Timestamp of the claim, ms, where no mark says it.
    pub timestamp_ms: i64,
}

/// What a database file is to the claim that was made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    /// What the record says.
    Known,
    /// Not established: the sidecar compares it with the claimed state.
    Unknown,
    /// Not in place yet: a start that was interrupted must not take what is there for it (P3).
    Missing,
}

/// When a claim was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The TXID that turned out to be somebody else's, or to lie behind his.
    pub txid: u64,
    /// By our clock, ms.
    pub unix_ms: i64,
}

/// An object about to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its TXID.
    pub txid: u64,
    /// Id of this one object.
    pub write_id: [u8; 6],
    /// Size and SHA-256 of the staged object; `None` for an image that is streamed without a local copy.
    pub staged: Option<Staged>,
}

/// A staged object that can be sent again, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Bytes.
    pub size: u64,
    /// Hex digest.
    pub sha256: String,
    /// What is sent is `staged.object`, and `staged.ltx` the same in plain text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// The database as of a TXID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes per page.
    pub page_size: u32,
    /// Pages.
    pub commit: u32,
    /// Rolling checksum of all pages.
    pub rolling: u64,
    /// Timestamp in the newest header, ms.
    pub timestamp_ms: i64,
    /// Where the copying stands in the WAL.
    pub position: WalPosition,
}

/// [`Position`] as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of `Position`
pub struct WalPosition {
    pub salt1: u32,
    pub salt2: u32,
    pub frame: u32,
    pub cksum1: u32,
    pub cksum2: u32,
}

impl Mark {
    /// The position in the WAL.
    pub fn position(&self) -> Position {
        let WalPosition { salt1, salt2, frame, cksum1, cksum2 } = self.position;
        Position { salt1, salt2, frame, cksum1, cksum2, page_size: self.page_size, commit: self.commit }
    }
}

impl From<Position> for WalPosition {
    fn from(p: Position) -> Self {
        WalPosition { salt1: p.salt1, salt2: p.salt2, frame: p.frame, cksum1: p.cksum1, cksum2: p.cksum2 }
    }
}
