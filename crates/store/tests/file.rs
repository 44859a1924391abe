//! What is special about directories: missing roots, links, pages, leftovers of crashes.

use bytes::Bytes;
use clock::SystemIds;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use store::{Error, FileStore, ObjectStore, OpenConfig, PutOptions, Store, StoreUrl};

fn backend(root: &Path, create: bool) -> FileStore {
    FileStore::new(root, create, Arc::new(SystemIds::default()))
}

fn store(root: &Path, create: bool) -> Store {
    Store::new(Arc::new(backend(root, create)), &OpenConfig::default())
}

async fn put(store: &Store, key: &str) -> Result<(), Error> {
    store.put(key, Bytes::from_static(b"x"), &PutOptions::create()).await.map(|_| ())
}

#[tokio::test]
async fn p6_an_unmounted_share_is_not_an_empty_replica() {
    let dir = tempfile::tempdir().expect("scratch");
    let store = store(&dir.path().join("share/app"), false);
    let missing =
        |e: Error| assert!(matches!(&e, Error::NoRoot { hint, .. } if hint.contains("mounted")), "{e:?}");
    missing(store.list_all("").await.expect_err("list"));
    missing(store.head("k").await.expect_err("head"));
    missing(store.get("k", None).await.expect_err("get"));
    missing(put(&store, "k").await.expect_err("put"));
    missing(store.delete_all(&["k".to_owned()]).await.expect_err("delete"));
    assert!(!dir.path().join("share").exists(), "nothing was created");
}

#[tokio::test]
async fn create_makes_one_directory_and_only_on_a_put() {
    let dir = tempfile::tempdir().expect("scratch");
    let url = format!("file://{}/new?create=true", dir.path().display());
    let store =
        store::open(&StoreUrl::parse(&url).expect("a url"), OpenConfig::default()).await.expect("opens");
    assert_eq!(store.list_all("").await.expect("empty"), []);
    assert!(store.head("k").await.expect_err("absent").is_not_found());
    assert!(!dir.path().join("new").exists());
    put(&store, "a/b/k").await.expect("puts");
    assert!(dir.path().join("new/a/b/k").is_file());
    let deep = self::store(&dir.path().join("no/parent"), true);
    assert!(matches!(put(&deep, "k").await, Err(Error::NoRoot { .. })));
}

#[tokio::test]
async fn symbolic_links_are_refused_wherever_they_lead() {
    let dir = tempfile::tempdir().expect("scratch");
    let outside = tempfile::tempdir().expect("scratch");
    fs::write(outside.path().join("secret"), "s").expect("write");
    symlink(outside.path(), dir.path().join("link")).expect("link");
    symlink(outside.path().join("secret"), dir.path().join("file")).expect("link");
    let store = store(dir.path(), false);
    for key in ["link/secret", "file"] {
        assert!(matches!(store.get(key, None).await, Err(Error::Refused(_))), "{key}");
        assert!(matches!(store.head(key).await, Err(Error::Refused(_))), "{key}");
        assert!(put(&store, key).await.is_err(), "{key}");
    }
    assert!(matches!(put(&store, "link/new").await, Err(Error::Refused(_))));
    assert!(matches!(store.list_all("").await, Err(Error::Refused(_))));
    assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 1);
}

#[tokio::test]
async fn a_name_cannot_be_a_file_and_a_directory() {
    let dir = tempfile::tempdir().expect("scratch");
    let store = store(dir.path(), false);
    put(&store, "a/b").await.expect("puts");
    assert!(matches!(put(&store, "a").await, Err(Error::Refused(_))));
    assert!(matches!(put(&store, "a/b/c").await, Err(Error::Refused(_))));
    assert!(store.head("a").await.expect_err("absent").is_not_found());
}

#[tokio::test]
async fn pages_of_any_size_give_the_same_listing() {
    let dir = tempfile::tempdir().expect("scratch");
    let store = store(dir.path(), false);
    let mut keys = vec![];
    for n in 0..40 {
        let key = ["a/b", "a.b", "a", "c/d/e"][n % 4].to_owned() + &format!("{n:02}");
        put(&store, &key).await.expect("puts");
        keys.push(key);
    }
    keys.sort();
    let raw = backend(dir.path(), false);
    for limit in 1..6 {
        let (mut listed, mut after) = (vec![], None::<String>);
        loop {
            let page = raw.list_page("", after.as_deref(), limit).await.expect("lists");
            listed.extend(page.objects.iter().map(|o| o.key.clone()));
            after = listed.last().cloned();
            if !page.more {
                break;
            }
        }
        assert_eq!(listed, keys, "limit {limit}");
    }
}

#[tokio::test]
async fn leftovers_of_crashes_are_invisible_and_removed_a_day_later() {
    let dir = tempfile::tempdir().expect("scratch");
    for (name, age) in [("old", 90_000), ("young", 10)] {
        let path = dir.path().join(format!(".highwater-tmp-{name}"));
        let file = fs::File::create(&path).expect("create");
        let now = file.metadata().and_then(|m| m.modified()).expect("mtime");
        file.set_modified(now - std::time::Duration::from_secs(age)).expect("utimes");
    }
    let store = store(dir.path(), false);
    assert_eq!(store.list_all("").await.expect("lists"), []);
    put(&store, "k").await.expect("puts");
    assert!(!dir.path().join(".highwater-tmp-old").exists());
    assert!(dir.path().join(".highwater-tmp-young").exists());
}
