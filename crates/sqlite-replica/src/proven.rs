//! The side object `highwater/proven.json`: up to where the replica has been read back and found whole.
//!
//! Written by whoever proved it (the sidecar, `restore verify --record`, a drill); retention never crosses it (P3). It only moves
//! forward, except when a later proof finds that what was proven is damaged now.

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::identity::FORMAT;
use crate::layout::{PROVEN_KEY, proven_key};
use bytes::Bytes;
use clock::UnixMs;
use ltx::Txid;
use serde::{Deserialize, Serialize};
use std::fmt;
use store::{PutOptions, Store};

/// Who proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The writer's own upkeep.
    Sidecar,
    /// `restore verify`.
    Verify,
    /// `restore drill`.
    Drill,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The listing: no gap.
    Chain,
    /// Of a sealed replica, without its identity: names, sizes and clear parts. Nothing was opened, so nothing is proven.
    Sealed,
    /// Every byte of the chain and its checksums.
    Bytes,
    /// A restored database, checked by SQLite.
    Restore,
}

impl fmt::Display for How {
    /// As it stands in the document.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Chain => "chain",
            How::Bytes => "bytes",
            How::Sealed => "sealed",
            How::Restore => "restore",
        })
    }
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Version of this document: 1.
    pub format: u32,
    /// Newest TXID proven, 16 hex digits.
    pub through: String,
    /// When, RFC 3339.
    pub at: String,
    /// By whom.
    pub by: By,
    /// How.
    pub how: How,
}

impl Proven {
    /// A proof of everything up to `through`.
    pub fn new(through: Txid, at: UnixMs, by: By, how: How) -> Proven {
        Proven { format: 1, through: through.to_string(), at: clock::format_unix_ms(at), by, how }
    }

    /// Newest TXID of which bytes were compared; `None` if only names were.
    pub fn txid(&self) -> Option<Txid> {
        (self.how > How::Sealed).then(|| self.through.parse().ok()).flatten()
    }

    /// Reads it; `None` if nothing was ever proven (P6: an absence the store has confirmed).
    pub async fn load(store: &Store) -> Result<Option<Proven>> {
        let bytes = match store.get_bytes(PROVEN_KEY, None).await {
            Ok(bytes) => bytes,
            Err(store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let unreadable = |what: String| Error::Damaged {
            what: format!("{PROVEN_KEY}: {what}"),
            hint: "it is a note, no data: `restore verify --record` writes it anew".into(),
        };
        let proven: Proven = serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
        if proven.format > FORMAT {
            return Err(Error::Refused {
                what: format!("{PROVEN_KEY} has format {}, this program knows {FORMAT}", proven.format),
                hint: "use the newer version that wrote it".into(),
            });
        }
        if proven.through.parse::<Txid>().is_err() {
            return Err(unreadable(format!("{:?} is no TXID", proven.through)));
        }
        Ok(Some(proven))
    }

    /// The newest TXID that anybody found whole, by the document and the marks of a listing. A note that cannot be read is said and
    /// passed over: it must not keep anybody from a restore.
    pub(crate) async fn furthest(store: &Store, catalogue: &Catalogue) -> Result<Option<Txid>> {
        let noted = match catalogue.has_proof {
            true => match Proven::load(store).await {
                Err(error @ (Error::Damaged { .. } | Error::Refused { .. })) => {
                    tracing::warn!(%error, "passed over");
                    None
                }
                noted => noted?.and_then(|proven| proven.txid()),
            },
            false => None,
        };
        Ok(noted.max(catalogue.proofs.last().copied()))
    }

    /// Writes it.
    pub async fn save(&self, store: &Store) -> Result<()> {
        let body = serde_json::to_vec_pretty(self).expect("plain fields serialise");
        let json = PutOptions { content_type: Some("application/json".into()), ..PutOptions::overwrite() };
        store.put(PROVEN_KEY, body.into(), &json).await?;
        Ok(())
    }

    /// Writes it, and beside it an empty object whose name says the same: a writer that may only put and list sees that.
    pub async fn announce(&self, store: &Store) -> Result<()> {
        self.save(store).await?;
        if let Some(txid) = self.txid() {
            store.put(&proven_key(txid), Bytes::new(), &PutOptions::overwrite()).await?;
        }
        Ok(())
    }
}
