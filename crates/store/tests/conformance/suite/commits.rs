//! Numbered commits: created once, repeated by their own writer, refused to others.

use super::{noise, pieces};
use bytes::Bytes;
use futures::future::join_all;
use store::{Commit, Error, PutOptions, Store, WRITE_ID};

pub(crate) async fn commit_repeat_fence(store: &Store) {
    let opts = PutOptions::create();
    let body = Bytes::from_static(b"ours");
    assert_eq!(store.commit("commits/1", body.clone(), &opts).await.expect("commits"), Commit::Created);
    assert_eq!(store.commit("commits/1", body.clone(), &opts).await.expect("repeats"), Commit::Repeated);
    for other in ["theirs of another size", "hers"] {
        let fenced = store.commit("commits/1", Bytes::from(other), &opts).await;
        assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    }
    assert_eq!(store.get_bytes("commits/1", None).await.expect("reads"), "ours");
    let first = store.commit("commits/empty", Bytes::new(), &opts).await.expect("commits");
    let second = store.commit("commits/empty", Bytes::new(), &opts).await.expect("repeats");
    assert_eq!((first, second), (Commit::Created, Commit::Repeated));
}

pub(crate) async fn streamed_commits(store: &Store) {
    for (n, length) in [(1, 10_000), (2, (8 << 20) + 10)] {
        let key = format!("commits/stream-{n}");
        let body = noise(length, n);
        let opts = PutOptions::create().with_metadata(WRITE_ID, "w1");
        let commit = |opts: PutOptions, body: Bytes| {
            let key = &key;
            async move { store.commit_stream(key, move || pieces(&body), Some(length as u64), &opts).await }
        };
        assert_eq!(commit(opts.clone(), body.clone()).await.expect("commits"), Commit::Created);
        assert_eq!(commit(opts.clone(), body.clone()).await.expect("repeats"), Commit::Repeated);
        assert_eq!(commit(PutOptions::create(), body.clone()).await.expect("compares"), Commit::Repeated);
        let other = PutOptions::create().with_metadata(WRITE_ID, "w2");
        let fenced = commit(other, noise(length, n + 10)).await;
        assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
        let fenced = commit(PutOptions::create(), noise(length, n + 10)).await;
        assert!(matches!(fenced, Err(Error::Fenced { .. })), "{fenced:?}");
    }
}

/// P4: holds only where create-only puts are honoured; elsewhere the weaker mode makes no such promise.
pub(crate) async fn of_many_writers_one_wins(store: &Store) {
    if store.is_fenced_weakly() {
        return;
    }
    let opts = PutOptions::create();
    let writers = (0..16).map(|n| store.commit("commits/race", Bytes::from(format!("writer {n:02}")), &opts));
    let outcomes = join_all(writers).await;
    let winners: Vec<usize> = (0..16).filter(|n| matches!(outcomes[*n], Ok(Commit::Created))).collect();
    let fenced = outcomes.iter().filter(|o| matches!(o, Err(Error::Fenced { .. }))).count();
    assert_eq!((winners.len(), fenced), (1, 15), "{outcomes:?}");
    let stored = store.get_bytes("commits/race", None).await.expect("reads");
    assert_eq!(stored, format!("writer {:02}", winners[0]));
}
