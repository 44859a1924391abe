//! Store clients: replicas below the common one share its client, its connections and its probe.

use crate::observe::Requests;
use clock::{Clock, IdGen};
use futures::future::BoxFuture;
use sqlite_replica::{Database, Stores};
use std::collections::HashMap;
use std::sync::Arc;
use store::{OpenConfig, Store, StoreUrl, UploadLimit};

use tokio::sync::Mutex;

/// Opens each URL once.
pub(crate) struct Clients {
    common: Option<StoreUrl>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    requests: Arc<Requests>,
    limit: Option<Arc<UploadLimit>>,
    open: Mutex<HashMap<String, Store>>,
}

impl Clients {
    pub(crate) fn new(
        common: Option<StoreUrl>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdGen>,
        requests: Arc<Requests>,
        limit: Option<Arc<UploadLimit>>,
    ) -> Clients {
        Clients { common, clock, ids, requests, limit, open: Mutex::default() }
    }

    /// Looks at every client that was opened.
    pub(crate) async fn each(&self, look: impl Fn(&Store)) {
        self.open.lock().await.values().for_each(look);
    }

    /// The clients that were opened: one, unless replicas have URLs that have nothing in common.
    pub(crate) async fn opened(&self) -> Vec<Store> {
        self.open.lock().await.values().cloned().collect()
    }

    async fn client(&self, url: &StoreUrl) -> store::Result<Store> {
        let mut open = self.open.lock().await;
        let text = url.to_string();
        if let Some(store) = open.get(&text) {
            return Ok(store.clone());
        }
        let config = OpenConfig {
            upload_limit: self.limit.clone(),
            ..OpenConfig::new(self.clock.clone(), self.ids.clone())
        };
        let store = store::open(url, config).await?;
        store.set_observer(self.requests.clone());
        open.insert(text, store.clone());
        Ok(store)
    }
}

impl Stores for Clients {
    fn open<'a>(&'a self, database: &'a Database) -> BoxFuture<'a, store::Result<Store>> {
        Box::pin(async move {
            let url = StoreUrl::parse(&database.replica)?;
            let Some((common, scope)) = self.common.as_ref().and_then(|c| Some((c, url.below(c)?))) else {
                return self.client(&url).await;
            };
            let store = self.client(common).await?;
            if scope.is_empty() { Ok(store) } else { store.scoped(&scope) }
        })
    }
}
