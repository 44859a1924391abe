//! Which trees go where: the pair of the command line, or those of the description.

use crate::cli::Trees;
use anyhow::{Context, Result, ensure};
use file_replica::{Filter, Identity, Settings};
use protect::{Description, Keep, Layer, Sources};
use seal::{Identities, Protection, Recipients};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{OpenConfig, Store, StoreUrl};

/// One tree and its replica.
pub(crate) struct Tree {
    /// In metrics and claims: relative to the root of the description, or the directory's name.
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) place: Place,
    pub(crate) debounce: Duration,
    pub(crate) keep: Keep,
}

/// Where a replica is.
#[derive(Clone)]
pub(crate) struct Place {
    url: StoreUrl,
    /// Prefix below `url`; empty if the URL is the replica's own.
    scope: String,
    /// The URL as it was written, for messages.
    pub(crate) text: String,
}

/// Trees, and the description they come from.
pub(crate) struct Resolved {
    pub(crate) trees: Vec<Tree>,
    pub(crate) description: Option<Description>,
    /// An annotations file is there: `restore init` claims, not we.
    pub(crate) in_pod: bool,
}

const DEBOUNCE: Duration = Duration::from_secs(10);

/// Resolves what to look after; an error is a usage error, nothing has begun.
pub(crate) fn resolve(args: &Trees) -> Result<Resolved> {
    match args.pair.as_slice() {
        [] => described(args),
        [dir, url] => {
            ensure!(args.config.is_none(), "name a directory and a URL, or --config, not both");
            let root = std::path::absolute(dir).with_context(|| format!("{dir}: not a path"))?;
            let name = root.file_name().map_or_else(|| "/".into(), |n| n.to_string_lossy().into_owned());
            let protection = protection(&args.recipient)?;
            let identity = Identity {
                cluster: args.cluster.clone().unwrap_or_default(),
                app: args.app.clone().unwrap_or_default(),
                tree: name.clone(),
            };
            let settings = settings(args, root, identity, protection, &args.exclude)?;
            let place = Place { url: StoreUrl::parse(url)?, scope: String::new(), text: url.clone() };
            let keep = protect::Profile::Standard.keep();
            let tree = Tree { name, settings, place, debounce: DEBOUNCE, keep };
            Ok(Resolved { trees: vec![tree], description: None, in_pod: false })
        }
        _ => anyhow::bail!("a directory and a URL are wanted, or neither; one argument was given"),
    }
}

fn described(args: &Trees) -> Result<Resolved> {
    ensure!(
        args.recipient.is_empty(),
        "--recipient goes with DIR and URL; the description has encrypt.recipients"
    );
    ensure!(args.exclude.is_empty(), "--exclude goes with DIR and URL; the description has files[].exclude");
    let mut sources = Sources::of_process();
    sources.config.clone_from(&args.config);
    sources.annotations.clone_from(&args.annotations);
    sources.domain.clone_from(&args.annotation_domain);
    sources.flags.cluster = args.cluster.clone().map(|name| Layer::flag("--cluster", name));
    sources.flags.app = args.app.clone().map(|name| Layer::flag("--app", name));
    let in_pod = sources.in_pod();
    let description = sources.resolve()?;
    let recipients = description.encrypt.as_ref().map(|e| e.recipients.clone()).unwrap_or_default();
    let mut trees = Vec::new();
    for files in &description.files {
        let identity = Identity {
            cluster: description.cluster.clone().unwrap_or_default(),
            app: description.app.clone().unwrap_or_default(),
            tree: files.path.clone(),
        };
        let root = description.locate(&files.path);
        trees.push(Tree {
            name: files.path.clone(),
            settings: settings(args, root, identity, protection(&recipients)?, &files.exclude)?,
            place: place(description.replica.as_deref(), &files.url)?,
            debounce: files.debounce,
            keep: files.keep,
        });
    }
    ensure!(
        !trees.is_empty(),
        "no directory to look after: name one and the URL of its replica, or list files in the description"
    );
    Ok(Resolved { trees, description: Some(description), in_pod })
}

fn settings(
    args: &Trees,
    root: PathBuf,
    identity: Identity,
    protection: Protection,
    exclude: &[String],
) -> Result<Settings> {
    Ok(Settings {
        root,
        identity,
        protection,
        filter: Filter::new(exclude)?,
        must_exist: args.must_exist.clone(),
        adopt: args.adopt,
        origin: None,
        writer: concat!("config-syncer ", env!("CARGO_PKG_VERSION")).into(),
    })
}

fn protection(recipients: &[String]) -> Result<Protection> {
    if recipients.is_empty() {
        return Ok(Protection::Plain);
    }
    Ok(Protection::Sealed(Recipients::from_list(recipients, "recipients")?))
}

/// A directory replica below the common one is opened at the common one: that has to exist (an unmounted share must not look
/// like an empty replica, P6), what lies below it is ours to create.
pub(crate) fn place(common: Option<&str>, text: &str) -> Result<Place> {
    let url = StoreUrl::parse(text)?;
    if let (Some(common), Some(path)) = (common, url.path()) {
        let common = StoreUrl::parse(common)?;
        if let Some(Ok(scope)) = common.path().map(|root| path.strip_prefix(root)) {
            let scope = scope.to_str().context("the replica's path is not UTF-8")?.to_owned();
            return Ok(Place { url: common, scope, text: text.to_owned() });
        }
    }
    Ok(Place { url, scope: String::new(), text: text.to_owned() })
}

/// Replicas to read: the one that was named, or those of the description, with what retention keeps of each.
pub(crate) fn places(url: Option<&str>, config: Option<&Path>) -> Result<Vec<(Place, Keep)>> {
    if let Some(url) = url {
        return Ok(vec![(place(None, url)?, protect::Profile::Standard.keep())]);
    }
    let mut sources = Sources::of_process();
    sources.config = config.map(Path::to_owned);
    let description = sources.resolve()?;
    description
        .files
        .iter()
        .map(|files| Ok((place(description.replica.as_deref(), &files.url)?, files.keep)))
        .collect()
}

impl Place {
    /// Whether one of the two lies inside the other, or both are the same.
    pub(crate) fn overlaps(&self, other: &Place) -> Result<bool> {
        let (a, b) = (StoreUrl::parse(&self.text)?, StoreUrl::parse(&other.text)?);
        Ok(a.below(&b).is_some() || b.below(&a).is_some())
    }

    /// Opens the store; nothing is sent.
    pub(crate) async fn open(&self, config: OpenConfig) -> Result<Store> {
        let store = store::open(&self.url, config).await?;
        Ok(if self.scope.is_empty() { store } else { store.scoped(&self.scope)? })
    }
}

/// The identities of `--identity`.
pub(crate) fn identities(path: Option<&Path>) -> Result<Option<Arc<Identities>>> {
    Ok(path.map(Identities::from_file).transpose()?.map(Arc::new))
}
