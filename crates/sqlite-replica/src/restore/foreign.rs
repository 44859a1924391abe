//! A prefix without a database in it: what lies there instead, so that a wrong URL is told from an empty replica.

use crate::error::{Error, Result};
use futures::TryStreamExt;
use store::Store;

/// Keys looked at before nothing is recognised.
const ENOUGH: usize = 1_000;

/// Refuses a prefix that holds another kind of replica, or replicas below it. Says nothing about one that is empty.
pub async fn refuse_foreign(store: &Store) -> Result<()> {
    let mut listing = store.list("", None);
    let (mut below, mut seen) = (None, 0);
    while let Some(meta) = listing.try_next().await? {
        let key = meta.key.as_str();
        if key == "repo.json" || (key.starts_with("m/") && key.len() == 22) {
            return Err(refused("a replica of files", "restore it with `restore files`"));
        }
        if key.ends_with(".manifest.json") || key.contains(".db.zst") || key.starts_with("etcd/") {
            return Err(refused("etcd snapshots", "restore them with `restore etcd`"));
        }
        if below.is_none() {
            below = ["/highwater/lineage.json", "/0000/", "/ltx/0/"]
                .iter()
                .find_map(|mark| key.find(mark))
                .map(|at| key[..at].to_owned());
        }
        seen += 1;
        if seen >= ENOUGH {
            break;
        }
    }
    match below {
        Some(prefix) => Err(refused(
            &format!("no replica itself, but one below it: {prefix}"),
            &format!("name it: append /{prefix} to the URL"),
        )),
        None => Ok(()),
    }
}

fn refused(what: &str, hint: &str) -> Error {
    Error::Refused { what: format!("the prefix holds {what}"), hint: hint.to_owned() }
}
