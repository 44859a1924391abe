//! The stores of a pod's replicas: one client for all that are reached in the same way, and a second one that gives up early.

use clock::{SystemClock, SystemIds};
use door::Failure;
use protect::Description;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{OpenConfig, RetryPolicy, Store, StoreUrl};
use telemetry::Exit;

/// The first look must be quick: healthy data of a known history starts without a store (trap 13).
const QUICK: RetryPolicy = RetryPolicy {
    max_attempts: 3,
    base: Duration::from_millis(200),
    cap: Duration::from_secs(2),
    budget: Duration::from_secs(6),
};

/// One place, with two kinds of patience.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) store: Store,
    pub(crate) first_look: Store,
}

/// See the module.
pub(crate) struct Stores {
    common: Option<StoreUrl>,
    opened: HashMap<String, Replica>,
}

impl Stores {
    /// For the replicas of a description; nothing is opened yet.
    pub(crate) fn new(description: &Description) -> Result<Stores, Failure> {
        let common =
            description.replica.as_deref().map(StoreUrl::parse).transpose().map_err(Failure::usage)?;
        Ok(Stores { common, opened: HashMap::new() })
    }

    /// The replica of a URL; nothing is asked of the store. A directory below the common one is opened at the common one: that has to
    /// exist (an unmounted share must not look like an empty replica, P6), what lies below it is ours to create.
    pub(crate) async fn open(&mut self, text: &str) -> Result<Replica, Failure> {
        let url = StoreUrl::parse(text).map_err(Failure::usage)?;
        let below = self.common.as_ref().and_then(|common| Some((common.clone(), url.below(common)?)));
        let (place, scope) = below.unwrap_or((url, String::new()));
        let key = place.to_string();
        let opened = match self.opened.get(&key) {
            Some(opened) => opened.clone(),
            None => {
                let opened = Replica {
                    store: client(&place, RetryPolicy::default()).await?,
                    first_look: client(&place, QUICK).await?,
                };
                self.opened.insert(key, opened.clone());
                opened
            }
        };
        if scope.is_empty() {
            return Ok(opened);
        }
        let scoped = |store: &Store| store.scoped(&scope).map_err(|error| Failure::new(Exit::Usage, error));
        Ok(Replica { store: scoped(&opened.store)?, first_look: scoped(&opened.first_look)? })
    }
}

async fn client(url: &StoreUrl, retry: RetryPolicy) -> Result<Store, Failure> {
    let mut config = OpenConfig::new(Arc::new(SystemClock), Arc::new(SystemIds::default()));
    config.retry = retry;
    store::open(url, config).await.map_err(|error| Failure::new(Exit::Usage, error))
}
