//! Listings: pages (1,000 objects on S3) as one ordered stream.
//!
//! Pages are asked for by "after this key" instead of an opaque token: a page can be repeated after any failure, and
//! a listing continues even if the store forgot it. Keys must ascend; a store that does not advance is an error, not
//! an endless loop (P7).

use crate::counters::Operation;
use crate::object::ObjectMeta;
use crate::store::Store;
use crate::{Error, Result};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use std::collections::VecDeque;

struct Listing {
    store: Store,
    prefix: String,
    after: Option<String>,
    page: VecDeque<ObjectMeta>,
    more: bool,
}

impl Store {
    /// All objects whose keys start with the string `prefix` and are greater than `start_after`, in ascending byte
    /// order. One request per page, sent as the stream is read.
    pub fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'static, Result<ObjectMeta>> {
        let bad = prefix.starts_with('/')
            || prefix.contains('\0')
            || prefix.split('/').any(|s| s == ".." || s == ".");
        if bad || prefix.contains("//") {
            let error = Error::Refused(format!("prefix {prefix:?} has an empty, '.' or '..' segment"));
            return stream::once(async move { Err(error) }).boxed();
        }
        let listing = Listing {
            store: self.clone(),
            prefix: format!("{}{prefix}", self.scope()),
            after: start_after.map(|key| format!("{}{key}", self.scope())),
            page: VecDeque::new(),
            more: true,
        };
        stream::try_unfold(listing, next_object).boxed()
    }

    /// The listing in memory; for prefixes known to hold few objects.
    pub async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.list(prefix, None).try_collect().await
    }
}

async fn next_object(mut l: Listing) -> Result<Option<(ObjectMeta, Listing)>> {
    if l.page.is_empty() && l.more {
        let page = {
            let (backend, prefix, after) = (&l.store.shared.backend, &l.prefix, l.after.as_deref());
            l.store
                .repeat(Operation::List, 0, || backend.list_page(prefix, after, backend.page_size()))
                .await?
        };
        let mut last = l.after.as_deref();
        for object in &page.objects {
            if last.is_some_and(|last| object.key.as_str() <= last) || !object.key.starts_with(&l.prefix) {
                return Err(Error::corrupt(
                    &object.key,
                    "the listing is not in ascending order below its prefix",
                ));
            }
            last = Some(&object.key);
        }
        if page.more && page.objects.is_empty() {
            return Err(Error::corrupt(&l.prefix, "the store promises more objects but lists none"));
        }
        l.after = last.map(str::to_owned);
        l.more = page.more;
        l.page = page.objects.into();
    }
    let Some(object) = l.page.pop_front() else { return Ok(None) };
    Ok(Some((l.store.unscope(object), l)))
}
