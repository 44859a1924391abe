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
    pub(crate) url: StoreUrl,
    /// Prefix below `url` that the replica lies under; empty if the URL is the replica's own.
    pub(crate) scope: String,
    /// The URL as it was written, for messages.
    pub(crate) text: String,
    pub(crate) identity: Identity,
}

impl Pair {
    /// The database in metrics and claims: relative to the root of the description, or its file name.
    pub(crate) fn label(&self) -> &str {
        &self.identity.database
    }
}

/// Resolves what to replicate; an error is a usage error, nothing has begun.
pub(crate) fn resolve(args: &Replicate) -> Result<Vec<Pair>> {
    let pairs = if args.pairs.is_empty() { described(args)? } else { given(args)? };
    for (i, pair) in pairs.iter().enumerate() {
        let before = &pairs[..i];
        ensure!(
            !before.iter().any(|p| p.database == pair.database),
            "{} is named twice",
            pair.database.display()
        );
        ensure!(
            !before.iter().any(|p| p.text == pair.text),
            "{} is named twice; a replica holds one database",
            pair.text
        );
    }
    Ok(pairs)
}

fn given(args: &Replicate) -> Result<Vec<Pair>> {
    ensure!(args.config.is_none(), "name databases and URLs, or --config, not both");
    ensure!(
        args.pairs.len().is_multiple_of(2),
        "databases and URLs come in pairs; {} arguments were given",
        args.pairs.len()
    );
    let pair = |pair: &[String]| {
        let database = PathBuf::from(&pair[0]);
        let name = file_name(&database);
        Ok(Pair {
            url: StoreUrl::parse(&pair[1])?,
            scope: String::new(),
            text: pair[1].clone(),
            identity: Identity {
                cluster: args.cluster.clone().unwrap_or_default(),
                app: args.app.clone().unwrap_or_default(),
                database: name,
            },
            database,
        })
    };
    args.pairs.chunks(2).map(pair).collect()
}

fn described(args: &Replicate) -> Result<Vec<Pair>> {
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
        let (url, scope) = below(description.replica.as_deref(), &text)?;
        pairs.push(Pair {
            database: description.locate(&database.path),
            url,
            scope,
            text,
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
    Ok(pairs)
}

/// A directory replica below the common one is opened at the common one: that has to exist (an unmounted share must not look
/// like an empty replica, P6), what lies below it is ours to create.
fn below(common: Option<&str>, text: &str) -> Result<(StoreUrl, String)> {
    let url = StoreUrl::parse(text)?;
    if let (Some(common), Some(path)) = (common, url.path()) {
        let common = StoreUrl::parse(common)?;
        if let Some(Ok(scope)) = common.path().map(|root| path.strip_prefix(root)) {
            let scope = scope.to_str().context("the replica's path is not UTF-8")?.to_owned();
            return Ok((common, scope));
        }
    }
    Ok((url, String::new()))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}
