//! Listings: order, prefixes, pages.

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use store::{ObjectMeta, PutOptions, Store};

async fn keys(store: &Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    let objects: Vec<ObjectMeta> = store.list(prefix, after).try_collect().await.expect("lists");
    objects.into_iter().map(|o| o.key).collect()
}

pub(crate) async fn order_prefix_and_start(store: &Store) {
    // In byte order of whole keys: '.' < '/' < '0', unlike directories.
    let all = ["list/a.txt", "list/a/1", "list/a/b/2", "list/a0", "list/b"];
    for key in all.iter().rev() {
        store.put(key, Bytes::from_static(b"x"), &PutOptions::create()).await.expect(key);
    }
    assert_eq!(keys(store, "list/", None).await, all);
    assert_eq!(keys(store, "list/a", None).await, all[..4]);
    assert_eq!(keys(store, "list/a/", None).await, all[1..3]);
    assert_eq!(keys(store, "list/a/b/2", None).await, all[2..3]);
    for (n, after) in all.iter().enumerate() {
        assert_eq!(keys(store, "list/", Some(after)).await, all[n + 1..], "after {after}");
    }
    assert_eq!(keys(store, "list/", Some("list/a/aa")).await, all[2..]);
    assert_eq!(keys(store, "list/a/", Some("list/")).await, all[1..3]);
    assert_eq!(keys(store, "list/a/", Some("zzz")).await, [""; 0]);
    assert!(store.list_all("../x").await.is_err());
}

pub(crate) async fn more_than_a_page(store: &Store) {
    let names: Vec<String> = (0..1_005).map(|n| format!("pages/{}/{n:05}", n % 3)).collect();
    let opts = PutOptions::overwrite();
    stream::iter(&names)
        .map(|key| store.put(key, Bytes::from_static(b"x"), &opts))
        .buffer_unordered(32)
        .try_for_each(|_| async { Ok(()) })
        .await
        .expect("creates");
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(keys(store, "pages/", None).await, sorted);
    assert_eq!(keys(store, "pages/", Some(&sorted[999])).await, sorted[1_000..]);
    let first: Vec<ObjectMeta> = store.list("pages/", None).take(3).try_collect().await.expect("lists");
    assert_eq!(first[2].key, sorted[2]);
    store.delete_all(&names).await.expect("removes");
    assert_eq!(keys(store, "pages/", None).await, [""; 0]);
}
