//! Which databases go where: the pairs of the command line, or those of the description.

use crate::cli::Selection;
use anyhow::{Context, Result, ensure};
use protect::{Description, Layer, Sources};
use seal::{Protection, Recipients};
use sqlite_replica::{Config, Fill, Found, Identity, Policy};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::StoreUrl;

/// One database and its replica.
pub(crate) struct Pair {
    pub(crate) database: PathBuf,
    /// URL of the replica.
    pub(crate) replica: String,
    pub(crate) identity: Identity,
    /// Where it was written, for messages.
    pub(crate) place: String,
    /// How the replica is kept.
    pub(crate) policy: Policy,
    /// It is a pattern or a directory: each database found has a replica of its own below `replica`.
    pub(crate) found: Option<Found>,
}

/// Everything to replicate.
pub(crate) struct Pairs {
    pub(crate) all: Vec<Pair>,
    /// Sealed for recipients, or plain: one for all of them.
    pub(crate) protection: Protection,
    /// The URL that most of the replicas lie below.
    pub(crate) common: Option<StoreUrl>,
    /// What it was read from, unless it was written on the command line.
    pub(crate) description: Option<Description>,
    /// An annotations file is there: this is the sidecar of a pod.
    pub(crate) in_pod: bool,
    /// Directory on the volume; of several, that of the first database.
    pub(crate) volume: PathBuf,
}

impl Pairs {
    /// The kind of the first store, as Litestream's metrics name it.
    pub(crate) fn store_kind(&self) -> &'static str {
        let url = self.all.first().and_then(|pair| StoreUrl::parse(&pair.replica).ok());
        match url.map(|url| url.kind()) {
            Some(store::Kind::File) => "file",
            _ => "s3",
        }
    }
}

/// Resolves what to replicate; an error is a usage error, nothing has begun.
pub(crate) fn resolve(args: &Selection) -> Result<Pairs> {
    if args.pairs.is_empty() { described(args) } else { given(args) }
}

fn given(args: &Selection) -> Result<Pairs> {
    ensure!(
        args.config.is_none() && args.annotations.is_none(),
        "name databases and URLs, or a description (--config, --annotations), not both"
    );
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
            policy: Policy::default(),
            found: None,
            identity: Identity {
                cluster: args.cluster.clone().unwrap_or_default(),
                app: args.app.clone().unwrap_or_default(),
                database: name,
            },
            database,
        })
    };
    let all: Vec<Pair> = args.pairs.chunks(2).map(pair).collect::<Result<_>>()?;
    let volume = all.first().and_then(|pair| pair.database.parent()).unwrap_or(Path::new("")).to_owned();
    let protection = protection(&args.recipient, "--recipient")?;
    Ok(Pairs { all, protection, common: None, description: None, in_pod: false, volume })
}

fn described(args: &Selection) -> Result<Pairs> {
    let mut sources = Sources::of_process();
    sources.config = args.config.clone();
    sources.annotations = args.annotations.clone();
    sources.domain = args.annotation_domain.clone();
    sources.flags.cluster = args.cluster.clone().map(|name| Layer::flag("--cluster", name));
    sources.flags.app = args.app.clone().map(|name| Layer::flag("--app", name));
    let description = sources.resolve()?;
    ensure!(
        args.recipient.is_empty(),
        "--recipient goes with databases and URLs; the description has encrypt.recipients"
    );
    let recipients = description.encrypt.as_ref().map(|e| e.recipients.as_slice()).unwrap_or_default();
    let protection = protection(recipients, "encrypt.recipients")?;
    let mut pairs = Vec::new();
    for database in description.databases.iter().filter(|d| d.profile.is_backed_up()) {
        let many = database.is_pattern() || description.locate(&database.path).is_dir();
        let text =
            database.url.clone().with_context(|| format!("databases: {} has no replica", database.path))?;
        StoreUrl::parse(&text)?;
        pairs.push(Pair {
            database: description.locate(&database.path),
            place: format!("databases: {}", database.path),
            policy: Policy {
                snapshot: database.snapshot,
                keep: database.keep,
                ..Policy::of(database.profile)
            },
            replica: text,
            identity: Identity {
                cluster: description.cluster.clone().unwrap_or_default(),
                app: description.app.clone().unwrap_or_default(),
                database: database.path.clone(),
            },
            found: many.then(|| search(&description, database)),
        });
    }
    ensure!(
        !pairs.is_empty(),
        "nothing to replicate: name a database and the URL of its replica, or describe databases in --config; see wal-streamer replicate --help"
    );
    let common = description.replica.as_deref().map(StoreUrl::parse).transpose()?;
    let (volume, in_pod) = (description.root.clone(), sources.in_pod());
    Ok(Pairs { all: pairs, protection, common, description: Some(description), in_pod, volume })
}

/// A pattern, or everything in a directory; each database has its own replica below the common one, by its path.
fn search(description: &Description, database: &protect::Database) -> Found {
    let pattern = database.is_pattern().then(|| database.path.clone());
    let directory = if pattern.is_some() { PathBuf::new() } else { PathBuf::from(&database.path) };
    let database = database.clone();
    let fill = move |name: &str, writer: &mut Config| match database.replica_of(name) {
        Some(url) => {
            writer.replica = url;
            true
        }
        None => false,
    };
    Found { root: description.root.clone(), directory, pattern, fill: Fill(Arc::new(fill)) }
}

fn protection(recipients: &[String], place: &str) -> Result<Protection> {
    if recipients.is_empty() {
        return Ok(Protection::Plain);
    }
    Ok(Protection::Sealed(Recipients::from_list(recipients, place)?))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}
