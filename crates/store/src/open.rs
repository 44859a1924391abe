//! From a URL to a store.

use crate::file::FileStore;
use crate::limit::{Limited, UploadLimit};
use crate::memory;
use crate::s3::S3Store;

use crate::store::Store;
use crate::url::Target;
use crate::{ObjectStore, Result, RetryPolicy, StoreUrl};
use clock::{Clock, IdGen, SystemClock, SystemIds};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the credential files of a pod are mounted.
pub const CREDENTIALS_DIR: &str = "/highwater/credentials";

/// Everything a store needs from outside.
#[derive(Clone)]
pub struct OpenConfig {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness (jitter).
    pub ids: Arc<dyn IdGen>,
    /// Bounds of repeated requests.
    pub retry: RetryPolicy,
    /// Directory with credential files, re-read when they change.
    pub credentials_dir: Option<PathBuf>,
    /// Reads an environment variable.
    pub env: fn(&str) -> Option<String>,
    /// How long a request may go without any progress. A byte that the store acknowledges within this time is progress enough, so a
    /// target that takes 1 KiB/s works.
    pub idle: Duration,
    /// How long connecting may take.
    pub connect: Duration,
    /// Keeps uploads below a rate; share one among all stores of a process.
    pub upload_limit: Option<Arc<UploadLimit>>,
}

impl OpenConfig {
    /// The given time and ids, defaults for the rest.
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn IdGen>) -> Self {
        Self {
            clock,
            ids,
            retry: RetryPolicy::default(),
            credentials_dir: Some(PathBuf::from(CREDENTIALS_DIR)),
            env: |name| std::env::var(name).ok().filter(|value| !value.is_empty()),
            idle: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            upload_limit: None,
        }
    }
}

impl Default for OpenConfig {
    /// The machine's own time and randomness.
    fn default() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(SystemIds::default()))
    }
}

/// Opens the store a URL names. Nothing is sent and nothing is created before the first call on it.
pub async fn open(url: &StoreUrl, config: OpenConfig) -> Result<Store> {
    let backend: Arc<dyn ObjectStore> = match url.target() {
        Target::S3(s3) => Arc::new(S3Store::open(s3, &config).await?),
        Target::File(file) => Arc::new(FileStore::new(&file.path, file.create, config.ids.clone())),
        Target::Memory(name) => memory::named(name, config.clock.clone()),
    };
    let backend = match &config.upload_limit {
        Some(limit) => Arc::new(Limited { inner: backend, limit: limit.clone() }),
        None => backend,
    };
    Ok(Store::new(backend, &config))
}
