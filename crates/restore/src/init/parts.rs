//! From the description to the parts of the pod: one per database and one per tree, all within one budget of memory.

use super::found;
use super::stores::Stores;
use crate::cli;
use crate::identity;
use door::Failure;
use file_replica::restore::{Options, Policy};
use file_replica::{Filter, RelPath};
use protect::Description;
use seal::{Identities, Protection, Recipients};
use sqlite_replica::{Budget, Integrity, RestoreOptions};
use std::sync::Arc;

/// One database or one tree of the description.
pub(crate) struct Part {
    /// Its path there; of one that a pattern or a directory stands for, its own relative to the root.
    pub(crate) path: String,
    pub(crate) work: Work,
}

/// How replicas are written, and what opens them.
struct Keys {
    protection: Protection,
    identities: Option<Arc<Identities>>,
}

/// What is brought into place.
pub(crate) enum Work {
    Database(Box<sqlite_replica::init::Task>),
    Tree(Box<file_replica::restore::Task>),
}

impl Work {
    pub(crate) fn place(&self) -> &std::path::Path {
        match self {
            Work::Database(task) => &task.database,
            Work::Tree(task) => &task.root,
        }
    }
}

/// The parts. Stores are asked where a pattern or a directory stands for databases that the volume may have lost.
pub(crate) async fn parts(args: &cli::Init, description: &Description) -> Result<Vec<Part>, Failure> {
    let keys = Keys {
        protection: match &description.encrypt {
            Some(encrypt) => Protection::Sealed(
                Recipients::from_list(&encrypt.recipients, "encrypt.recipients").map_err(Failure::usage)?,
            ),
            None => Protection::Plain,
        },
        identities: identity::if_there(args.identity.as_deref())?,
    };
    let mut stores = Stores::new(description)?;
    let mut parts = databases(args, description, &keys, &mut stores).await?;
    let trees = trees(args, description, &keys, &mut stores, &parts).await?;
    parts.extend(trees);
    Ok(parts)
}

async fn databases(
    args: &cli::Init,
    description: &Description,
    keys: &Keys,
    stores: &mut Stores,
) -> Result<Vec<Part>, Failure> {
    let integrity = match description.restore.integrity {
        protect::Integrity::None => Integrity::None,
        protect::Integrity::Auto | protect::Integrity::Quick => Integrity::Quick,
        protect::Integrity::Full => Integrity::Full,
    };
    // One budget: all restores of the pod together stay within the memory of the container (P7).
    let options = RestoreOptions {
        integrity,
        budget: Budget::default(),
        identities: keys.identities.clone(),
        ..RestoreOptions::default()
    };
    let mut parts = Vec::new();
    for (name, url) in found::names(args, description, stores).await? {
        let replica = stores.open(&url).await?;
        parts.push(Part {
            work: Work::Database(Box::new(sqlite_replica::init::Task {
                database: description.locate(&name),
                store: replica.store,
                first_look: replica.first_look,
                url,
                identity: sqlite_replica::Identity {
                    cluster: description.cluster.clone().unwrap_or_default(),
                    app: description.app.clone().unwrap_or_default(),
                    database: name.clone(),
                },
                mode: description.restore.mode,
                at: description.restore.at_unix_ms,
                integrity,
                options: options.clone(),
                protection: keys.protection.clone(),
            })),
            path: name,
        });
    }
    Ok(parts)
}

async fn trees(
    args: &cli::Init,
    description: &Description,
    keys: &Keys,
    stores: &mut Stores,
    databases: &[Part],
) -> Result<Vec<Part>, Failure> {
    let shared = Options::default();
    let mut parts = Vec::new();
    for files in &description.files {
        let root = description.locate(&files.path);
        let replica = stores.open(&files.url).await?;
        let inside = |part: &Part| {
            let relative = part.work.place().strip_prefix(&root).ok()?;
            RelPath::new(relative.as_os_str().as_encoded_bytes()).ok()
        };
        let filter = Filter::new(&files.exclude)
            .map_err(Failure::usage)?
            .beside(databases.iter().filter_map(inside).collect());
        parts.push(Part {
            path: files.path.clone(),
            work: Work::Tree(Box::new(file_replica::restore::Task {
                root,
                store: replica.store,
                first_look: replica.first_look,
                identity: file_replica::Identity {
                    cluster: description.cluster.clone().unwrap_or_default(),
                    app: description.app.clone().unwrap_or_default(),
                    tree: files.path.clone(),
                },
                mode: description.restore.mode,
                at: description.restore.at_unix_ms,
                policy: Policy::from(args.on_conflict),
                protection: keys.protection.clone(),
                identities: keys.identities.clone(),
                options: Options { filter, ..shared.clone() },
                writer: concat!("restore ", env!("CARGO_PKG_VERSION")).into(),
            })),
        });
    }
    Ok(parts)
}
