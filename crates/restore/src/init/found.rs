//! Which databases there are: those that are named, and those that patterns and directories stand for.
//!
//! A volume that was lost cannot say what was on it, so the replicas are listed: what is there is what must be restored (P3). A store that
//! cannot be asked leaves what the volume has and remembers; where that is nothing, nobody knows, and it is asked again (P6, trap 13).

use super::stores::{Replica, Stores};
use crate::cli;
use clock::{Clock, SystemClock};
use door::{Failure, exit_of};
use protect::{Database, Description};
use sqlite_replica::{Error, Fill, Found, replicas_below};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name and URL of the replica of every database, by name. A named one wins over a pattern that finds it too.
pub(crate) async fn names(
    args: &cli::Init,
    description: &Description,
    stores: &mut Stores,
) -> Result<Vec<(String, String)>, Failure> {
    let mut all: BTreeMap<String, (String, bool)> = BTreeMap::new();
    let entries = description.databases.iter().filter(|d| d.profile.is_backed_up());
    for entry in entries {
        let url = entry.url.clone();
        let url = url.ok_or_else(|| Failure::usage(format!("databases: {} has no replica", entry.path)))?;
        let replica = stores.open(&url).await?;
        let Some(found) = search(args, description, entry, &replica).await? else {
            all.insert(entry.path.clone(), (url, true));
            continue;
        };
        for name in found {
            let Some(own) = entry.replica_of(&name) else { continue };
            match all.get(&name) {
                Some((_, true)) => {}
                Some((_, false)) => {
                    return Err(Failure::usage(format!(
                        "databases: two entries find {name}; name it, or narrow one"
                    )));
                }
                None => drop(all.insert(name, (own, false))),
            }
        }
    }
    Ok(all.into_iter().map(|(name, (url, _))| (name, url)).collect())
}

/// The names an entry stands for; `None` if it is one database.
async fn search(
    args: &cli::Init,
    description: &Description,
    entry: &Database,
    replica: &Replica,
) -> Result<Option<BTreeSet<String>>, Failure> {
    let path = description.locate(&entry.path);
    let is_pattern = entry.is_pattern();
    if !is_pattern && path.exists() && !path.is_dir() {
        return Ok(None);
    }
    let found = Found {
        root: description.root.clone(),
        directory: if is_pattern { PathBuf::new() } else { PathBuf::from(&entry.path) },
        pattern: is_pattern.then(|| entry.path.clone()),
        fill: Fill(Arc::new(|_, _| true)),
    };
    let selection = found.selection().map_err(|what| Failure::usage(format!("databases: {what}")))?;
    let failed = |error: Error| Failure::new(exit_of(error.class()), format!("{}: {error}", entry.path));
    let local = selection.names(SystemClock.unix_ms()).map_err(failed)?;
    let stored = match listed(args, replica, !local.is_empty()).await {
        Ok(stored) => stored,
        Err(error) if !local.is_empty() => {
            tracing::warn!(entry = entry.path, %error, known = local.len(), "the store cannot say which databases there are; those of the volume are looked at");
            BTreeSet::new()
        }
        Err(error) => return Err(failed(error)),
    };
    // Neither a directory nor databases below it: a database that is not there yet, or whose replica this is.
    if !is_pattern && !path.is_dir() && (stored.is_empty() || stored.contains("")) {
        return Ok(None);
    }
    let full = |name: String| match is_pattern {
        true => name,
        false => Path::new(&entry.path).join(name).to_string_lossy().into_owned(),
    };
    let mut names: BTreeSet<String> = stored
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(full)
        .filter(|name| selection.wants(name))
        .collect();
    // What an unfinished restore left is not a database of its own.
    let left_over = |name: &str| {
        name.strip_suffix(".restored").is_some_and(|base| names.contains(base) || local.contains(base))
    };
    let local: Vec<String> = local.iter().filter(|name| !left_over(name)).cloned().collect();
    names.extend(local);
    Ok(Some(names))
}

/// The replicas below; asked again while the store does not answer, once and quickly where the volume knows something itself.
async fn listed(args: &cli::Init, replica: &Replica, known: bool) -> Result<BTreeSet<String>, Error> {
    if known {
        return replicas_below(&replica.first_look).await;
    }
    super::patiently(args.patience, "replicas", sqlite_replica::init::is_worth_retrying, || {
        replicas_below(&replica.store)
    })
    .await
}
