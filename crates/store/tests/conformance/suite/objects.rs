//! Whole objects: create, overwrite, describe, remove.

use bytes::Bytes;
use store::{Error, Kind, PutOptions, Store};

pub(crate) async fn create_and_overwrite(store: &Store) {
    let key = "objects/one";
    store.put(key, Bytes::from_static(b"first"), &PutOptions::create()).await.expect("creates");
    let again = store.put(key, Bytes::from_static(b"second"), &PutOptions::create()).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(store.get_bytes(key, None).await.expect("reads"), "first");
    store.put(key, Bytes::from_static(b"third"), &PutOptions::overwrite()).await.expect("overwrites");
    assert_eq!(store.get_bytes(key, None).await.expect("reads"), "third");
    assert_eq!(store.head(key).await.expect("describes").size, 5);
}

pub(crate) async fn absence_is_proven(store: &Store) {
    assert!(store.head("objects/none").await.expect_err("absent").is_not_found());
    assert!(store.get("objects/none", None).await.expect_err("absent").is_not_found());
    assert!(store.get_bytes("objects/none", Some(0..1)).await.expect_err("absent").is_not_found());
    assert_eq!(store.list_all("none/").await.expect("an empty listing is a success"), []);
    for bad in ["", "/x", "../x", "a//b"] {
        assert!(matches!(store.head(bad).await, Err(Error::Refused(_))), "{bad:?}");
    }
}

pub(crate) async fn metadata_and_times(store: &Store) {
    let opts =
        PutOptions::create().with_metadata("highwater-write-id", "abc").with_modified_ms(1_700_000_000_123);
    let put = store.put("objects/meta", Bytes::from_static(b"x"), &opts).await.expect("creates");
    let head = store.head("objects/meta").await.expect("describes");
    assert_eq!(put.etag, head.etag);
    let listed = store.list_all("objects/meta").await.expect("lists").remove(0);
    assert_eq!((listed.size, listed.etag), (1, head.etag));
    if store.kind() == Kind::File {
        assert_eq!(
            head.modified_ms, 1_700_000_000_123,
            "litestream reads timestamps of file replicas from the mtime"
        );
    } else {
        assert_eq!(head.metadata.get("highwater-write-id").map(String::as_str), Some("abc"));
        assert!(head.modified_ms > 1_700_000_000_123);
    }
}

pub(crate) async fn keys_that_need_escaping(store: &Store) {
    let keys = [
        "escape/a b",
        "escape/a%20b",
        "escape/a&b=c",
        "escape/a+b",
        "escape/ä/ö.txt",
        "escape/é~!*'()",
        "escape/日本 語",
    ];
    for key in keys {
        store.put(key, Bytes::from(key), &PutOptions::create()).await.expect(key);
    }
    let mut sorted: Vec<&str> = keys.to_vec();
    sorted.sort_unstable();
    let listed: Vec<String> =
        store.list_all("escape/").await.expect("lists").into_iter().map(|o| o.key).collect();
    assert_eq!(listed, sorted);
    for key in keys {
        assert_eq!(store.get_bytes(key, None).await.expect(key), key);
    }
    store.delete_all(&listed).await.expect("removes");
    assert_eq!(store.list_all("escape/").await.expect("lists"), []);
}

pub(crate) async fn removal(store: &Store) {
    let keys: Vec<String> = (0..5).map(|n| format!("removal/{n}")).collect();
    for key in &keys[..4] {
        store.put(key, Bytes::from_static(b"x"), &PutOptions::create()).await.expect(key);
    }
    let results = store.delete(&keys[1..]).await;
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|r| r.result.is_ok()), "an absent key counts as removed: {results:?}");
    store.delete_all(&keys[4..]).await.expect("an absent key counts as removed");
    let left: Vec<String> =
        store.list_all("removal/").await.expect("lists").into_iter().map(|o| o.key).collect();
    assert_eq!(left, ["removal/0"]);
    store
        .put("removal/1", Bytes::from_static(b"y"), &PutOptions::create())
        .await
        .expect("a removed key is free");
}

pub(crate) async fn scopes(store: &Store) {
    let inner = store.scoped("scope/a").expect("a scope").scoped("b").expect("a scope");
    inner.put("k/1", Bytes::from_static(b"x"), &PutOptions::create()).await.expect("creates");
    assert_eq!(store.get_bytes("scope/a/b/k/1", None).await.expect("reads"), "x");
    assert_eq!(inner.list_all("k/").await.expect("lists")[0].key, "k/1");
    assert_eq!(inner.head("k/1").await.expect("describes").key, "k/1");
    assert!(inner.list_all("").await.expect("lists").len() == 1 && store.scoped("../x").is_err());
}
