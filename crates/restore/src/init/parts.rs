//! From the description to the parts of the pod: one task per database.

use clock::{SystemClock, SystemIds};
use door::Failure;
use protect::Description;
use sqlite_replica::init::Task;
use sqlite_replica::{Budget, Identity, Integrity, RestoreOptions};
use std::sync::Arc;
use std::time::Duration;
use store::{OpenConfig, RetryPolicy, Store, StoreUrl};
use telemetry::Exit;

/// One database of the description.
pub(crate) struct Part {
    /// Its path there.
    pub(crate) path: String,
    pub(crate) task: Task,
}

/// The first look must be quick: healthy data of a known history starts without a store (trap 13).
const QUICK: RetryPolicy = RetryPolicy {
    max_attempts: 3,
    base: Duration::from_millis(200),
    cap: Duration::from_secs(2),
    budget: Duration::from_secs(6),
};

/// The tasks; nothing is asked of any store yet.
pub(crate) async fn tasks(description: &Description) -> Result<Vec<Part>, Failure> {
    if description.encrypt.is_some() {
        return Err(Failure::usage(
            "encrypt: this version restores no sealed replicas into pods, and it writes no plain ones where recipients are named",
        ));
    }
    if let Some(tree) = description.files.first() {
        return Err(Failure::usage(format!("files: {}: this version restores databases only", tree.path)));
    }
    let integrity = match description.restore.integrity {
        protect::Integrity::None => Integrity::None,
        protect::Integrity::Auto | protect::Integrity::Quick => Integrity::Quick,
        protect::Integrity::Full => Integrity::Full,
    };
    let common = match &description.replica {
        Some(url) => Some(StoreUrl::parse(url).map_err(Failure::usage)?),
        None => None,
    };
    let mut parts = Vec::new();
    // One budget: all restores of the pod together stay within the memory of the container (P7).
    let options = RestoreOptions { integrity, budget: Budget::default(), ..RestoreOptions::default() };
    for database in description.databases.iter().filter(|d| d.profile.is_backed_up()) {
        if database.is_pattern() || description.locate(&database.path).is_dir() {
            return Err(Failure::usage(format!(
                "databases: {} is a pattern or a directory; this version wants each file named",
                database.path
            )));
        }
        let url = database
            .url
            .clone()
            .ok_or_else(|| Failure::usage(format!("databases: {} has no replica", database.path)))?;
        let (store, first_look) = (
            open(common.as_ref(), &url, RetryPolicy::default()).await?,
            open(common.as_ref(), &url, QUICK).await?,
        );
        parts.push(Part {
            path: database.path.clone(),
            task: Task {
                database: description.locate(&database.path),
                store,
                first_look,
                url,
                identity: Identity {
                    cluster: description.cluster.clone().unwrap_or_default(),
                    app: description.app.clone().unwrap_or_default(),
                    database: database.path.clone(),
                },
                mode: description.restore.mode,
                at: description.restore.at_unix_ms,
                integrity,
                options: options.clone(),
            },
        });
    }
    Ok(parts)
}

/// A directory replica below the common one is opened at the common one: that has to exist (an unmounted share must not look like an
/// empty replica, P6), what lies below it is ours to create.
async fn open(common: Option<&StoreUrl>, url: &str, retry: RetryPolicy) -> Result<Store, Failure> {
    let url = StoreUrl::parse(url).map_err(Failure::usage)?;
    let mut config = OpenConfig::new(Arc::new(SystemClock), Arc::new(SystemIds::default()));
    config.retry = retry;
    let below = common.and_then(|common| Some((common, url.below(common)?)));
    let opened = match below {
        None => store::open(&url, config).await,
        Some((common, scope)) => store::open(common, config)
            .await
            .and_then(|store| if scope.is_empty() { Ok(store) } else { store.scoped(&scope) }),
    };
    opened.map_err(|error| Failure::new(Exit::Usage, error))
}
