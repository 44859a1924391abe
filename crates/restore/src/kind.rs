//! Which kind of replica lies at a URL, by what is there and never by its name: the verbs that work on all kinds ask here, and a URL of
//! the wrong kind is answered with the right command.

use door::Failure;
use file_replica::{REPO_KEY, Repo};
use futures::TryStreamExt;
use store::{OpenConfig, Store, StoreUrl};
use telemetry::Exit;

/// Keys looked at before nothing is recognised.
const ENOUGH: usize = 1_000;

/// What a verb works on.
pub(crate) enum Replica {
    Files(Store),
    /// Also where nothing is recognised: that room says what is there instead.
    Database,
}

/// Asks for the one object that every replica of files has; without it, whether commits lie there that have lost it.
pub(crate) async fn of(url: &StoreUrl) -> Result<Replica, Failure> {
    let store = store::open(url, OpenConfig::default()).await.map_err(|e| Failure::new(Exit::Usage, e))?;
    let failed = |error: file_replica::Error| Failure::new(crate::files::exit_of(&error), error);
    if Repo::load(&store).await.map_err(failed)?.is_some() {
        return Ok(Replica::Files(store));
    }
    let first = store.list("m/", None).try_next().await.map_err(|e| failed(e.into()))?;
    match first {
        Some(object) if is_commit(&object.key) => Err(Failure::new(
            Exit::Damaged,
            format!("replica damaged: there are commits of files at {url}, and {REPO_KEY} is missing"),
        )),
        _ => Ok(Replica::Database),
    }
}

/// Says what lies at a URL that should be a replica of files and is none; `None` where nothing is recognised.
pub(crate) async fn instead_of_files(store: &Store) -> Result<Option<(String, String)>, store::Error> {
    let say = |what: &str, hint: &str| Ok(Some((what.to_owned(), hint.to_owned())));
    let mut listing = store.list("", None);
    let mut seen = 0;
    while let Some(object) = listing.try_next().await? {
        let key = object.key.as_str();
        if let Some(at) = key.find(&format!("/{REPO_KEY}")) {
            let below = &key[..at];
            return say(
                "no replica of files itself, but one below it",
                &format!("append /{below} to the URL"),
            );
        }
        if key.ends_with(".manifest.json") || key.contains(".db.zst") || key.starts_with("etcd/") {
            return say("etcd snapshots", "restore them with `restore etcd`");
        }
        let is_level = |part: &str| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let parts: Vec<&str> = key.split('/').collect();
        let at_top = matches!(parts.as_slice(), [level, leaf] if is_level(level) && leaf.ends_with(".ltx"))
            || matches!(
                parts.as_slice(),
                ["ltx", _, _] | ["generations", ..] | ["highwater", "lineage.json"]
            );
        if at_top {
            return say("a replica of a database", "restore it with `restore sqlite`");
        }
        seen += 1;
        if seen >= ENOUGH {
            break;
        }
    }
    Ok(None)
}

fn is_commit(key: &str) -> bool {
    key.strip_prefix("m/")
        .is_some_and(|number| number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit()))
}
