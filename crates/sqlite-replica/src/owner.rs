//! The side object `highwater/owner.json`: owner and mode of the database file, which LTX does not carry.
//!
//! Without them a restored database belongs to whoever restored it, and an application that runs under another uid cannot write it
//! (trap 2). Written with every first image of a volume; the last one counts.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use store::{PutOptions, Store};

/// Key below the replica.
pub const OWNER_KEY: &str = "highwater/owner.json";

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Version of this document: 1.
    pub format: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Permission bits as four octal digits.
    pub mode: String,
}

impl Owner {
    /// Of a file.
    pub fn of(path: &Path) -> Result<Owner> {
        let meta = fs::metadata(path).map_err(Error::io(path, "look at"))?;
        Ok(Owner {
            format: 1,
            uid: meta.uid(),
            gid: meta.gid(),
            mode: format!("{:04o}", meta.mode() & 0o7777),
        })
    }

    /// Reads it; `None` if no writer left one (Litestream does not).
    pub async fn load(store: &Store) -> Result<Option<Owner>> {
        let bytes = match store.get_bytes(OWNER_KEY, None).await {
            Ok(bytes) => bytes,
            Err(store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let unreadable = |what: String| Error::Object {
            key: OWNER_KEY.into(),
            what,
            hint: "delete it; owner and mode are then those of the restoring process".into(),
        };
        let owner: Owner = serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
        if owner.format != 1 || owner.bits().is_none() {
            return Err(unreadable("not of a kind that this version knows".into()));
        }
        Ok(Some(owner))
    }

    /// Writes it.
    pub async fn save(&self, store: &Store) -> Result<()> {
        let body = serde_json::to_vec_pretty(self).expect("plain fields serialise");
        let json = PutOptions { content_type: Some("application/json".into()), ..PutOptions::overwrite() };
        store.put(OWNER_KEY, body.into(), &json).await?;
        Ok(())
    }

    /// Gives a restored file its owner and mode. Another owner can be given by root only: anybody else is refused before the
    /// application meets a file it cannot write.
    pub fn apply(&self, path: &Path) -> Result<()> {
        let now = fs::metadata(path).map_err(Error::io(path, "look at"))?;
        if now.uid() != self.uid && !nix::unistd::geteuid().is_root() {
            return Err(Error::Refused {
                what: format!(
                    "the database belonged to uid {}, and this process (uid {}) cannot give it to another",
                    self.uid,
                    nix::unistd::geteuid()
                ),
                hint: format!(
                    "run as the application does (securityContext.runAsUser: {}), or delete {OWNER_KEY} if its uid changed for good",
                    self.uid
                ),
            });
        }
        let uid = (now.uid() != self.uid).then_some(self.uid);
        if let Err(e) = std::os::unix::fs::chown(path, uid, Some(self.gid)) {
            // A group one is no member of: the owner is right, which is what the application needs.
            if uid.is_some() || e.kind() != std::io::ErrorKind::PermissionDenied {
                return Err(Error::io(path, "change the owner of")(e));
            }
            tracing::warn!(path = %path.display(), gid = self.gid, "the group of the database could not be restored");
        }
        let bits = self.bits().unwrap_or(0o600);
        fs::set_permissions(path, fs::Permissions::from_mode(bits))
            .map_err(Error::io(path, "change the mode of"))
    }

    fn bits(&self) -> Option<u32> {
        u32::from_str_radix(&self.mode, 8).ok().filter(|bits| bits & !0o7777 == 0)
    }
}
