use super::*;
use crate::{Commit, OpenConfig, PutMode, RetryPolicy, Store};
use clock::SystemIds;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory as a store, with `change` applied to how it works.
fn store(root: &Path, change: impl FnOnce(&mut Inner)) -> Store {
    let mut backend = FileStore::new(root, false, Arc::new(SystemIds::default()));
    change(Arc::get_mut(&mut backend.0).expect("nobody else has it"));
    let config = OpenConfig { retry: RetryPolicy::none(), ..OpenConfig::default() };
    Store::new(Arc::new(backend), &config)
}

/// Ten thousand parts are S3's rule; in a directory a database of any size finds room.
#[tokio::test]
async fn p1_a_body_of_more_parts_than_a_bucket_takes_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), |inner| inner.part = 64);
    let body: Vec<u8> = (0..64 * 10_001 + 1_u32).map(|n| n.wrapping_mul(2_654_435_761) as u8).collect();
    let pieces: Vec<_> = body.chunks(60_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let done =
        store.put_stream("large", stream::iter(pieces).boxed(), Some(body.len() as u64), &options).await;
    done.unwrap();
    assert!(fs::read(dir.path().join("large")).unwrap() == body);
}

static SYNCS: AtomicU32 = AtomicU32::new(0);

/// Reports that the disk failed, the first time.
fn fails_once(dir: &Path) -> io::Result<()> {
    match SYNCS.fetch_add(1, Ordering::Relaxed) {
        0 => Err(io::Error::other("planted")),
        _ => publish::sync_dir(dir),
    }
}

/// An object whose name may be lost with the power is not durable, however often it is found there.
#[tokio::test]
async fn p1_a_commit_that_meets_itself_makes_its_name_durable_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), |inner| inner.sync_dir = fails_once);
    let options = PutOptions::default();
    let commit = || store.commit("1", Bytes::from_static(b"state"), &options);
    commit().await.expect_err("the directory could not be synced");
    assert_eq!(fs::read(dir.path().join("1")).unwrap(), b"state", "the name is there all the same");
    assert_eq!(SYNCS.load(Ordering::Relaxed), 1);
    assert_eq!(commit().await.unwrap(), Commit::Repeated);
    assert!(SYNCS.load(Ordering::Relaxed) > 1, "reported durable without a sync of its directory");
}

/// Directories that a process made which died before it could sync them.
#[tokio::test]
async fn p1_directories_that_are_there_are_made_durable_once_per_process() {
    static SEEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    fn seen(dir: &Path) -> io::Result<()> {
        SEEN.lock().unwrap().push(dir.to_owned());
        publish::sync_dir(dir)
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    let store = store(dir.path(), |inner| inner.sync_dir = seen);
    for key in ["a/b/1", "a/b/2"] {
        store.put(key, Bytes::from_static(b"x"), &PutOptions::create()).await.unwrap();
    }
    let (root, a, b) = (dir.path().to_owned(), dir.path().join("a"), dir.path().join("a/b"));
    assert_eq!(*SEEN.lock().unwrap(), [root, a, b.clone(), b], "both parents, then each object's directory");
}
