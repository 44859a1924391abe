//! Ranges and streams.

use super::{noise, pieces};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::io;
use store::{Error, PutOptions, Store};

pub(crate) async fn ranges(store: &Store) {
    let body = noise(300_000, 1);
    store.put("bodies/ranged", body.clone(), &PutOptions::create()).await.expect("creates");
    for range in [0..1, 0..300_000, 99_999..200_001, 299_999..300_000, 299_990..400_000] {
        let end = range.end.min(300_000) as usize;
        let got = store.get("bodies/ranged", Some(range.clone())).await.expect("reads");
        assert_eq!(got.meta.size, 300_000);
        assert_eq!(got.bytes().await.expect("reads"), body.slice(range.start as usize..end), "{range:?}");
    }
    assert_eq!(store.get_bytes("bodies/ranged", Some(7..7)).await.expect("reads"), "");
    let beyond = store.get_bytes("bodies/ranged", Some(300_000..300_001)).await;
    assert!(matches!(beyond, Err(Error::Corrupt { .. })), "{beyond:?}");
}

pub(crate) async fn empty_objects(store: &Store) {
    store.put("bodies/empty", Bytes::new(), &PutOptions::create()).await.expect("creates");
    assert_eq!(store.head("bodies/empty").await.expect("describes").size, 0);
    assert_eq!(store.get_bytes("bodies/empty", None).await.expect("reads"), "");
    store
        .put_stream("bodies/empty-stream", stream::empty().boxed(), None, &PutOptions::create())
        .await
        .expect("creates");
    assert_eq!(store.head("bodies/empty-stream").await.expect("describes").size, 0);
}

pub(crate) async fn streams(store: &Store) {
    for (name, length) in [("small", 70_000), ("part", 8 << 20), ("parts", (8 << 20) + 4_097)] {
        let key = format!("bodies/stream-{name}");
        let body = noise(length, 2);
        store.put_stream(&key, pieces(&body), Some(length as u64), &PutOptions::create()).await.expect(name);
        let got = store.get(&key, None).await.expect(name);
        let read: Vec<Bytes> = got.stream.try_collect().await.expect(name);
        assert!(read.concat() == body, "{name}");
        let again = store.put_stream(&key, pieces(&noise(length, 3)), None, &PutOptions::create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{name}: {again:?}");
        store.put_stream(&key, pieces(&noise(length, 4)), None, &PutOptions::overwrite()).await.expect(name);
        assert!(store.get_bytes(&key, None).await.expect(name) == noise(length, 4), "{name}");
    }
}

pub(crate) async fn a_failing_stream_leaves_nothing(store: &Store) {
    for length in [1_000, (8 << 20) + 1] {
        let broken = stream::iter([Ok(noise(length, 5)), Err(io::Error::other("the disk broke"))]);
        let error = store.put_stream("bodies/broken", broken.boxed(), None, &PutOptions::create()).await;
        assert!(error.expect_err("fails").to_string().contains("the disk broke"));
        assert!(store.head("bodies/broken").await.expect_err("absent").is_not_found());
    }
    assert_eq!(store.list_all("bodies/broken").await.expect("lists"), []);
}
