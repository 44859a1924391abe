//! The access probe: one small request that says whether credentials and store still work while nothing is written.
//!
//! Once per pod and interval, counted apart from everything else and switched off by the caller. It creates the object that the
//! capability probe created at the start: the store answers that it exists, which needs the right to put, and only that.

use crate::error::Result;
use bytes::Bytes;
use store::capability::PROBE_KEY;
use store::{Error, PutOptions, Store};

/// Asks. An error says what is wrong with the access.
pub async fn probe(store: &Store) -> Result<()> {
    match store.put(PROBE_KEY, Bytes::new(), &PutOptions::create()).await {
        Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
