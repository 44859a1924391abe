//! Budgets: how many requests things cost, counted by the server and by us alike.

use super::{bench, config, open, put};
use bytes::Bytes;
use futures::TryStreamExt;
use store::{Commit, ObjectMeta, Operation, PutOptions};

#[tokio::test]
async fn a_commit_is_one_put_and_one_that_meets_itself_is_put_and_head() {
    let b = bench().await;
    let before = b.store.counters();
    let opts = PutOptions::create();
    let commit = || b.store.commit("0000/1", Bytes::from_static(b"body"), &opts);
    assert_eq!(commit().await.expect("commits"), Commit::Created);
    assert_eq!((b.server.counts().put, b.server.counts().total()), (1, 1));
    assert_eq!(commit().await.expect("repeats"), Commit::Repeated);
    let counts = b.server.counts();
    assert_eq!((counts.put, counts.head, counts.total()), (2, 1, 3));
    assert!(
        b.store
            .commit("0000/1", Bytes::from_static(b"else"), &PutOptions::create())
            .await
            .expect_err("fenced")
            .is_fenced()
    );
    let counts = b.server.counts();
    assert_eq!((counts.put, counts.head, counts.total()), (3, 2, 5), "known md5 tags need no get");
    assert_eq!(b.store.counters().since(&before).total_requests(), 5);
    assert_eq!(b.server.keys("p/0000/"), ["p/0000/1"]);
}

#[tokio::test]
async fn the_probe_is_two_puts_once_and_one_put_at_later_starts() {
    let b = bench().await;
    assert_eq!(b.store.counters().requests(Operation::Put), 2);
    let later = open(&b.server.url("p"), config(&b.credentials)).await;
    assert!(later.capabilities().await.expect("probes").create_only);
    assert!(later.capabilities().await.expect("knows").create_only);
    assert_eq!(b.server.counts().total(), 1);
}

#[tokio::test]
async fn p7_2500_keys_are_listed_in_3_requests() {
    let b = bench().await;
    let dir = b.server.object("p/many");
    std::fs::create_dir_all(&dir).expect("mkdir");
    for n in 0..2_500 {
        std::fs::write(dir.join(format!("{n:04}")), "x").expect("write");
    }
    let listed: Vec<ObjectMeta> = b.store.list("many/", None).try_collect().await.expect("lists");
    assert_eq!((listed.len(), listed[2_499].key.as_str()), (2_500, "many/2499"));
    assert_eq!((b.server.counts().list, b.server.counts().total()), (3, 3));
    let keys: Vec<String> = listed.into_iter().map(|o| o.key).collect();
    b.server.reset();
    b.store.delete_all(&keys).await.expect("removes");
    assert_eq!((b.server.counts().delete, b.server.counts().total()), (3, 3), "{:?}", b.server.log());
    assert!(b.server.keys("p/many/").is_empty());
}

#[tokio::test]
async fn a_stream_over_one_part_is_an_upload_in_equal_parts() {
    let b = bench().await;
    let pieces = (0..17).map(|n| Ok(Bytes::from(vec![n; 1 << 20])));
    let body = Box::pin(futures::stream::iter(pieces));
    b.store.put_stream("big", body, Some(17 << 20), &PutOptions::create()).await.expect("uploads");
    let counts = b.server.counts();
    assert_eq!((counts.multipart_create, counts.upload_part, counts.complete, counts.total()), (1, 3, 1, 5));
    assert_eq!(b.store.head("big").await.expect("describes").size, 17 << 20);
}

#[tokio::test]
async fn an_object_read_in_ranges_costs_one_request_each() {
    let b = bench().await;
    put(&b.store, "k", "0123456789").await;
    b.server.reset();
    assert_eq!(b.store.get_bytes("k", Some(2..5)).await.expect("reads"), "234");
    assert_eq!((b.server.counts().get, b.server.counts().total()), (1, 1));
}

#[tokio::test]
async fn a_store_without_batch_removal_is_asked_key_by_key() {
    let b = bench().await;
    let keys: Vec<String> = (0..3).map(|n| format!("k{n}")).collect();
    for key in &keys {
        put(&b.store, key, "x").await;
    }
    b.server.reset();
    b.server.faults().fail_next_with(1, 400, "MissingContentMD5");
    b.store.delete_all(&keys).await.expect("removes");
    assert_eq!((b.server.counts().delete, b.server.keys("p/k").len()), (4, 0));
    b.store.delete_all(&keys).await.expect("removes");
    assert_eq!(b.server.counts().delete, 7, "it is not asked for a batch again");
}

#[tokio::test]
async fn a_removal_that_is_refused_is_reported_for_its_key() {
    let b = bench().await;
    put(&b.store, "k", "x").await;
    b.server.faults().deny_deletes(true);
    let results = b.store.delete(&["k".to_owned(), "l".to_owned()]).await;
    assert_eq!((results.len(), results[0].key.as_str()), (2, "k"));
    assert!(
        results.iter().all(|r| r.result.as_ref().is_err_and(|e| e.reason() == "access_denied")),
        "{results:?}"
    );
    assert_eq!(b.server.keys("p/k"), ["p/k"]);
}
