//! Whose replica it is: the identity a writer claims under, and the side object that records it (P4).

use crate::error::{Error, Result};
use crate::layout::LINEAGE_KEY;
use crate::write::Form;
use serde::{Deserialize, Serialize};
use store::{Commit, PutOptions, Store};

/// Who writes: a claim under another identity is refused, so that a copied configuration cannot steal a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Cluster name, empty if none was given.
    pub cluster: String,
    /// Application name, empty if none was given.
    pub app: String,
    /// Database path relative to the volume, or its file name.
    pub database: String,
}

/// The side object `highwater/lineage.json`, created once per replica and never overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// Version of this document; a newer one is refused.
    pub format: u32,
    /// Random id of the history, 16 hex digits.
    pub lineage: String,
    /// Who created it.
    #[serde(flatten)]
    pub identity: Identity,
    /// When, RFC 3339.
    pub created: String,
    /// Every file with pages is sealed (format 2, which programs that know nothing of it refuse).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// Version of the side objects this code reads and writes.
pub(crate) const FORMAT: u32 = 1;
/// Version of the lineage of a sealed replica.
const SEALED_FORMAT: u32 = 2;

impl Lineage {
    /// Of a new replica.
    pub(crate) fn new(id: u64, identity: &Identity, created: String, sealed: bool) -> Lineage {
        let format = if sealed { SEALED_FORMAT } else { FORMAT };
        Lineage { format, lineage: format!("{id:016x}"), identity: identity.clone(), created, sealed }
    }

    /// The id as a number.
    pub fn id(&self) -> Result<u64> {
        u64::from_str_radix(&self.lineage, 16).map_err(|_| Error::Damaged {
            what: format!("{LINEAGE_KEY}: {:?} is no lineage id", self.lineage),
            hint: "the object was not written by this program".into(),
        })
    }

    /// Reads the side object; `None` is a proven absence (P6).
    pub async fn load(store: &Store) -> Result<Option<Lineage>> {
        let bytes = match store.get_bytes(LINEAGE_KEY, None).await {
            Ok(bytes) => bytes,
            Err(store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let lineage: Lineage = serde_json::from_slice(&bytes).map_err(|e| Error::Damaged {
            what: format!("{LINEAGE_KEY}: {e}"),
            hint: "the object was not written by this program".into(),
        })?;
        if lineage.format > SEALED_FORMAT {
            return Err(Error::Refused {
                what: format!(
                    "{LINEAGE_KEY} has format {}, this program knows {SEALED_FORMAT}",
                    lineage.format
                ),
                hint: "use a newer version".into(),
            });
        }
        Ok(Some(lineage))
    }

    /// Creates the side object. Somebody else's in its place means that another writer was first.
    pub async fn create(&self, store: &Store) -> Result<()> {
        let body = serde_json::to_vec_pretty(self).expect("plain fields serialise");
        let json = PutOptions { content_type: Some("application/json".into()), ..PutOptions::create() };
        match store.commit(LINEAGE_KEY, body.into(), &json).await {
            Ok(Commit::Created | Commit::Repeated) => Ok(()),
            Err(store::Error::Fenced { .. }) => Err(Error::Fenced {
                what: format!("{LINEAGE_KEY} was created by another writer at the same moment"),
                hint: "check that only one pod writes to this replica".into(),
            }),
            Err(e) => Err(e.into()),
        }
    }

    /// Refuses a replica that is of the other form: a sealed one is never continued in plain text, nor the other way round.
    pub(crate) fn check_form(&self, form: &Form) -> Result<()> {
        if self.sealed == form.is_sealed() { Ok(()) } else { Err(other_form(self.sealed)) }
    }

    /// Refuses a replica that belongs to somebody else.
    pub fn check(&self, claimant: &Identity) -> Result<()> {
        if &self.identity == claimant {
            return Ok(());
        }
        let show =
            |i: &Identity| format!("cluster {:?}, app {:?}, database {:?}", i.cluster, i.app, i.database);
        Err(Error::Refused {
            what: format!("the replica belongs to {} and not to {}", show(&self.identity), show(claimant)),
            hint: "choose another prefix; a replica holds one database".into(),
        })
    }
}

/// The refusal of a replica that is `sealed`, or is not, against the configuration.
pub(crate) fn other_form(sealed: bool) -> Error {
    Error::Refused {
        what: format!(
            "the replica was written {}, and {} is configured",
            Form::name(sealed),
            match sealed {
                true => "no recipient",
                false => "a recipient",
            }
        ),
        hint: "set encrypt.recipients as it was, or choose another prefix: one replica holds one form".into(),
    }
}
