//! Which databases go where: the pairs of the command line, or those of the description.

use crate::cli::Replicate;
use anyhow::{Context, Result, bail, ensure};
use protect::{Layer, Sources};
use sqlite_replica::Identity;
use std::path::{Path, PathBuf};
use store::StoreUrl;

/// One database and its replica.
pub(crate) struct Pair {
    pub(crate) database: PathBuf,
    /// URL of the replica.
    pub(crate) replica: String,
    pub(crate) identity: Identity,
    /// Where it was written, for messages.
    pub(crate) place: String,
}

/// Everything to replicate.
pub(crate) struct Pairs {
    pub(crate) all: Vec<Pair>,
    /// The URL that most of the replicas lie below.
    pub(crate) common: Option<StoreUrl>,
}

/// Resolves what to replicate; an error is a usage error, nothing has begun.
pub(crate) fn resolve(args: &Replicate) -> Result<Pairs> {
    if args.pairs.is_empty() { described(args) } else { given(args) }
}

fn given(args: &Replicate) -> Result<Pairs> {
    ensure!(args.config.is_none(), "name databases and URLs, or --config, not both");
    ensure!(
        args.pairs.len().is_multiple_of(2),
        "databases and URLs come in pairs; {} arguments were given",
        args.pairs.len()
    );
    let pair = |pair: &[String]| {
        let database = PathBuf::from(&pair[0]);
        let name = file_name(&database);
        StoreUrl::parse(&pair[1])?;
        Ok(Pair {
            replica: pair[1].clone(),
            place: "command line".into(),
            identity: Identity {
                cluster: args.cluster.clone().unwrap_or_default(),
                app: args.app.clone().unwrap_or_default(),
                database: name,
            },
            database,
        })
    };
    Ok(Pairs { all: args.pairs.chunks(2).map(pair).collect::<Result<_>>()?, common: None })
}

fn described(args: &Replicate) -> Result<Pairs> {
    let mut sources = Sources::of_process();
    sources.config = args.config.clone();
    sources.flags.cluster = args.cluster.clone().map(|name| Layer::flag("--cluster", name));
    sources.flags.app = args.app.clone().map(|name| Layer::flag("--app", name));
    let description = sources.resolve()?;
    if description.encrypt.is_some() {
        bail!(
            "encrypt: this version writes no sealed replicas, and it does not write plain ones where recipients are named"
        );
    }
    let mut pairs = Vec::new();
    for database in description.databases.iter().filter(|d| d.profile.is_backed_up()) {
        ensure!(
            !database.is_pattern() && !description.locate(&database.path).is_dir(),
            "databases: {} is a pattern or a directory; this version wants each file named",
            database.path
        );
        let text =
            database.url.clone().with_context(|| format!("databases: {} has no replica", database.path))?;
        StoreUrl::parse(&text)?;
        pairs.push(Pair {
            database: description.locate(&database.path),
            place: format!("databases: {}", database.path),
            replica: text,
            identity: Identity {
                cluster: description.cluster.clone().unwrap_or_default(),
                app: description.app.clone().unwrap_or_default(),
                database: database.path.clone(),
            },
        });
    }
    ensure!(
        !pairs.is_empty(),
        "nothing to replicate: name a database and the URL of its replica, or describe databases in --config; see wal-streamer replicate --help"
    );
    let common = description.replica.as_deref().map(StoreUrl::parse).transpose()?;
    Ok(Pairs { all: pairs, common })
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}
