//! Whose replica it is: the identity a writer claims under, and the side object that records it (P4).

use crate::layout::REPO_KEY;
use crate::{Error, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Commit, PutOptions, Store};

/// Who writes: a claim under another identity is refused, so that a copied configuration cannot steal a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Identity {
    /// Cluster name, empty if none was given.
    pub cluster: String,
    /// Application name, empty if none was given.
    pub app: String,
    /// The tree: its path relative to the root of the description, or the last name of the directory.
    pub tree: String,
}

/// The side object `repo.json`, created once per replica and never overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repo {
    /// Always `files`.
    pub kind: String,
    /// Version of the format; a newer one is refused.
    pub format: u32,
    /// Random id of the history, 16 hex digits.
    pub lineage: String,
    /// Who created it.
    #[serde(flatten)]
    pub identity: Identity,
    /// When, RFC 3339.
    pub created: String,
}

impl Repo {
    pub(crate) fn new(lineage: u64, identity: Identity, created: String) -> Repo {
        Repo {
            kind: "files".into(),
            format: crate::manifest::FORMAT,
            lineage: format!("{lineage:016x}"),
            identity,
            created,
        }
    }

    /// Reads the side object; `None` is a proven absence (P6).
    pub async fn load(store: &Store) -> Result<Option<Repo>> {
        let bytes = match store.get_bytes(REPO_KEY, None).await {
            Ok(bytes) => bytes,
            Err(store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let foreign = |why: String| Error::Damaged {
            what: format!("{REPO_KEY}: {why}"),
            hint: "the object was not written by this program".into(),
        };
        let repo: Repo = serde_json::from_slice(&bytes).map_err(|e| foreign(e.to_string()))?;
        if repo.kind != "files" || repo.lineage.len() != 16 || u64::from_str_radix(&repo.lineage, 16).is_err()
        {
            return Err(foreign("it does not describe a replica of files".into()));
        }
        if repo.format > crate::manifest::FORMAT {
            let what = format!("{REPO_KEY} has format {}", repo.format);
            return Err(Error::refused(what, "use a newer version"));
        }
        Ok(Some(repo))
    }

    /// Creates the side object. Somebody else's in its place means that another writer was first.
    pub(crate) async fn create(&self, store: &Store) -> Result<()> {
        let body = serde_json::to_vec_pretty(self).expect("plain fields serialise");
        let json = PutOptions { content_type: Some("application/json".into()), ..PutOptions::create() };
        match store.commit(REPO_KEY, Bytes::from(body), &json).await {
            Ok(Commit::Created | Commit::Repeated) => Ok(()),
            Err(store::Error::Fenced { .. }) => Err(Error::Fenced {
                what: format!("{REPO_KEY} was created by another writer at the same moment"),
                hint: "check that only one pod writes to this replica".into(),
            }),
            Err(e) => Err(e.into()),
        }
    }

    /// Refuses a replica that belongs to somebody else.
    pub fn check(&self, claimant: &Identity) -> Result<()> {
        if &self.identity == claimant {
            return Ok(());
        }
        let show = |i: &Identity| format!("cluster {:?}, app {:?}, tree {:?}", i.cluster, i.app, i.tree);
        Err(Error::refused(
            format!("the replica belongs to {} and not to {}", show(&self.identity), show(claimant)),
            "choose another prefix; a replica holds one tree",
        ))
    }
}
