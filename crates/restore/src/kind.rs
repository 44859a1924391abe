//! Which kind of replica lies at a URL, by what is there and never by its name: the verbs that work on all kinds ask here, and a URL of
//! the wrong kind is answered with the right command.

use door::{Failure, exit_of};
use etcd_replica::{Sighting, sighting};
use file_replica::{REPO_KEY, Repo};
use futures::TryStreamExt;
use store::{OpenConfig, Store, StoreUrl};
use telemetry::Exit;

/// Keys looked at before nothing is recognised; ten listings.
const ENOUGH: usize = 10_000;

/// What a verb works on.
pub(crate) enum Replica {
    Files(Store),
    Etcd(Store),
    /// Also where nothing is recognised: that room says what is there instead.
    Database,
}

/// What a listing shows.
enum Seen {
    FilesBelow(String),
    Etcd(Sighting),
    Database,
}

/// Asks for the one object that every replica of files has, then for what the keys say. A `cluster` that was named is looked for first,
/// and refused where there is no etcd.
pub(crate) async fn of(url: &StoreUrl, cluster: Option<&str>) -> Result<Replica, Failure> {
    let store = store::open(url, OpenConfig::default()).await.map_err(|e| Failure::new(Exit::Usage, e))?;
    let failed = |error: file_replica::Error| Failure::new(exit_of(error.class()), error);
    let of_store = |error: store::Error| failed(error.into());
    let no_cluster = |kind: &str| {
        let what =
            format!("--cluster names one of several etcd clusters, and at {url} is a replica of {kind}");
        Err(Failure::usage(what))
    };
    if Repo::load(&store).await.map_err(failed)?.is_some() {
        return match cluster {
            None => Ok(Replica::Files(store)),
            Some(_) => no_cluster("files"),
        };
    }
    let first = store.list("m/", None).try_next().await.map_err(of_store)?;
    if let Some(object) = first.filter(|object| is_commit(&object.key)) {
        return Err(Failure::new(
            Exit::Damaged,
            format!("replica damaged: {} is there at {url}, and {REPO_KEY} is missing", object.key),
        ));
    }
    if let Some(cluster) = cluster {
        etcd_replica::layout::check_cluster(cluster).map_err(crate::etcd::failed)?;
        let mut inside = store.list(&format!("{cluster}/"), None);
        while let Some(object) = inside.try_next().await.map_err(of_store)? {
            if sighting(&object.key).is_some() {
                return Ok(Replica::Etcd(store));
            }
        }
    }
    match (look(&store).await.map_err(of_store)?, cluster) {
        (Some(Seen::Etcd(Sighting::Here(_))), _) => Ok(Replica::Etcd(store)),
        (Some(Seen::Etcd(elsewhere)), _) => {
            let (what, hint) = elsewhere_of(&elsewhere);
            Err(Failure::new(Exit::Refused, format!("{what}: {hint}")))
        }
        (Some(Seen::Database), Some(_)) => no_cluster("a database"),
        (None | Some(Seen::FilesBelow(_)), Some(_)) => Ok(Replica::Etcd(store)),
        (_, None) => Ok(Replica::Database),
    }
}

/// Says what lies at a URL that should be a replica of files and is none; `None` where nothing is recognised.
pub(crate) async fn instead_of_files(store: &Store) -> Result<Option<(String, String)>, store::Error> {
    Ok(look(store).await?.map(|seen| match seen {
        Seen::Etcd(Sighting::Here(_)) => {
            ("etcd snapshots".to_owned(), "restore them with `restore etcd`".to_owned())
        }
        other => described(&other),
    }))
}

/// The same for a URL that should hold snapshots of etcd.
pub(crate) async fn instead_of_etcd(store: &Store) -> Result<Option<(String, String)>, file_replica::Error> {
    if Repo::load(store).await?.is_some() {
        return Ok(Some(("a replica of files".into(), "restore it with `restore files`".into())));
    }
    Ok(look(store)
        .await?
        .filter(|seen| !matches!(seen, Seen::Etcd(Sighting::Here(_))))
        .map(|seen| described(&seen)))
}

fn described(seen: &Seen) -> (String, String) {
    match seen {
        Seen::FilesBelow(below) => {
            ("no replica of files itself, but one below it".to_owned(), format!("append /{below} to the URL"))
        }
        Seen::Etcd(place) => elsewhere_of(place),
        Seen::Database => {
            ("a replica of a database".to_owned(), "restore it with `restore sqlite`".to_owned())
        }
    }
}

/// Snapshots of etcd, and the URL that names them.
fn elsewhere_of(place: &Sighting) -> (String, String) {
    match place {
        Sighting::Here(cluster) => {
            (format!("snapshots of the etcd cluster {cluster}"), "use the URL as it is".into())
        }
        Sighting::Below(below) => {
            ("no etcd snapshots itself, but some below it".into(), format!("append /{below} to the URL"))
        }
        Sighting::Inside(cluster) => (
            format!("only the folder of the etcd cluster {cluster}"),
            format!("leave the last part off the URL and say --cluster {cluster}"),
        ),
    }
}

/// The first thing that is recognised at the place itself, else the first that lies below it.
async fn look(store: &Store) -> Result<Option<Seen>, store::Error> {
    let mut listing = store.list("", None);
    let (mut below, mut seen) = (None, 0);
    while let Some(object) = listing.try_next().await? {
        let key = object.key.as_str();
        match sighting(key) {
            Some(found @ Sighting::Below(_)) => below = below.or(Some(Seen::Etcd(found))),
            Some(found) => return Ok(Some(Seen::Etcd(found))),
            None if is_of_a_database(key) => return Ok(Some(Seen::Database)),
            None => {
                let files =
                    key.find(&format!("/{REPO_KEY}")).map(|at| Seen::FilesBelow(key[..at].to_owned()));
                below = below.or(files);
            }
        }
        seen += 1;
        if seen >= ENOUGH {
            break;
        }
    }
    Ok(below)
}

fn is_of_a_database(key: &str) -> bool {
    let is_level = |part: &str| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = key.split('/').collect();
    matches!(parts.as_slice(), [level, leaf] if is_level(level) && leaf.ends_with(".ltx"))
        || matches!(parts.as_slice(), ["ltx", _, _] | ["generations", ..] | ["highwater", "lineage.json"])
}

fn is_commit(key: &str) -> bool {
    key.strip_prefix("m/")
        .is_some_and(|number| number.len() == 20 && number.bytes().all(|b| b.is_ascii_digit()))
}
