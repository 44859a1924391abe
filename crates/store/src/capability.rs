//! What a store can do, found out by trying.
//!
//! The fence stands on create-only puts. Some stores accept `If-None-Match: *` and ignore it (Garage 2.5), so it is
//! probed once with one fixed key: create it, create it again; the second must fail. Later starts see the first fail
//! at once, which proves the same with a single request. The object stays; it is 28 bytes.
//!
//! Without the capability commits fall back to asking before putting ([`crate::fence`]): good against a restarted
//! writer, not against two at the same moment. That is logged as a warning once and visible in
//! [`Store::is_fenced_weakly`].

use crate::counters::Operation;
use crate::object::PutOptions;
use crate::store::Store;
use crate::{Error, Result};
use bytes::Bytes;
use tokio::sync::OnceCell;

/// Key of the probe object, relative to the prefix of the URL.
pub const PROBE_KEY: &str = "highwater/probe";
const PROBE_BODY: &[u8] = b"highwater create-only probe\n";

/// What is known about a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Create-only puts are honoured.
    pub create_only: bool,
}

pub(crate) struct Capability(OnceCell<Capabilities>);

impl Capability {
    pub(crate) fn new(known: Option<bool>) -> Self {
        Self(OnceCell::new_with(known.map(|create_only| Capabilities { create_only })))
    }
}

impl Store {
    /// What the store can do; the first call on S3 probes (one or two puts), later ones are free.
    pub async fn capabilities(&self) -> Result<Capabilities> {
        self.shared.capability.0.get_or_try_init(|| self.ask()).await.copied()
    }

    /// True once it is known that this store does not honour create-only puts: commits are checked before they are
    /// sent, which does not hold against two writers at the same moment.
    pub fn is_fenced_weakly(&self) -> bool {
        self.shared.capability.0.get().is_some_and(|c| !c.create_only)
    }

    async fn ask(&self) -> Result<Capabilities> {
        let create_only = !(self.create_probe().await? && self.create_probe().await?);
        if !create_only {
            tracing::warn!(
                "this store ignores If-None-Match: a second writer is noticed only when it is not writing at the \
                 same moment; run a single writer per replica"
            );
        }
        Ok(Capabilities { create_only })
    }

    /// True if the store said that it created the object.
    async fn create_probe(&self) -> Result<bool> {
        let opts = PutOptions::create();
        let body = Bytes::from_static(PROBE_BODY);
        let put = || self.shared.backend.put(PROBE_KEY, body.clone(), &opts);
        match self.repeat(Operation::Put, PROBE_BODY.len() as u64, put).await {
            Ok(result) => {
                self.learn_etag(&body, &result);
                Ok(true)
            }
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
