//! One suite, every backend: memory, a directory, S3 over HTTP and over TLS with a private CA, and, when
//! `HIGHWATER_TEST_S3_URL` names one, a server outside (credentials from `AWS_*`).
//!
//! Keys of a run on an outside server live below a random prefix and are removed at the end.

mod suite;

use clock::{IdGen, SystemClock, SystemIds};
use std::sync::Arc;
use store::{FileStore, MemoryStore, OpenConfig, PutOptions, Store, StoreUrl};
use testkit::s3::S3Server;

fn config() -> OpenConfig {
    OpenConfig { credentials_dir: None, ..OpenConfig::default() }
}

/// Opens a server's URL with its credentials, the way a pod does: from files.
async fn open(server: &S3Server, url: &str) -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("scratch");
    for (name, value) in server.env() {
        std::fs::write(dir.path().join(name), value).expect("write");
    }
    let config = OpenConfig { credentials_dir: Some(dir.path().to_owned()), env: |_| None, ..config() };
    let url = StoreUrl::parse(url).expect("a url");
    (store::open(&url, config).await.expect("opens"), dir)
}

#[tokio::test]
async fn memory() {
    let backend = MemoryStore::new(Arc::new(SystemClock)).with_part_size(1 << 20);
    suite::all(&Store::new(Arc::new(backend), &config())).await;
}

#[tokio::test]
async fn a_memory_url_names_the_same_store_for_everybody() {
    let url = StoreUrl::parse("memory://shared").expect("a url");
    let (a, b) = (
        store::open(&url, config()).await.expect("opens"),
        store::open(&url, config()).await.expect("opens"),
    );
    a.put("k", "x".into(), &PutOptions::create()).await.expect("puts");
    assert_eq!(b.get_bytes("k", None).await.expect("reads"), "x");
}

#[tokio::test]
async fn memory_without_create_only() {
    let backend = MemoryStore::new(Arc::new(SystemClock)).without_create_only();
    let store = Store::new(Arc::new(backend), &config());
    suite::all(&store).await;
    assert!(store.is_fenced_weakly());
}

#[tokio::test]
async fn file() {
    let dir = tempfile::tempdir().expect("scratch");
    let backend = FileStore::new(dir.path(), false, Arc::new(SystemIds::default()));
    suite::all(&Store::new(Arc::new(backend), &config())).await;
}

#[tokio::test]
async fn s3() {
    let server = S3Server::start();
    let (store, _dir) = open(&server, &server.url("conformance/p")).await;
    suite::all(&store).await;
    assert!(!store.is_fenced_weakly());
    assert_eq!(server.unfinished_uploads(), 0);
}

#[tokio::test]
async fn s3_that_ignores_if_none_match() {
    let server = S3Server::start();
    server.faults().ignore_conditions(true);
    let (store, _dir) = open(&server, &server.url("weak")).await;
    suite::all(&store).await;
    assert!(store.is_fenced_weakly());
}

#[tokio::test]
async fn s3_over_tls_with_a_private_ca() {
    let server = S3Server::start_tls();
    let ca = tempfile::NamedTempFile::new().expect("scratch");
    std::fs::write(ca.path(), server.ca_pem()).expect("write");
    let (store, _dir) = open(&server, &format!("{}&ca={}", server.url("tls"), ca.path().display())).await;
    suite::all(&store).await;
}

#[tokio::test]
async fn a_server_outside() {
    let Ok(url) = std::env::var("HIGHWATER_TEST_S3_URL") else { return };
    let url = StoreUrl::parse(&url).expect("HIGHWATER_TEST_S3_URL");
    let store = store::open(&url, config()).await.expect("opens");
    let run = store.scoped(&format!("conformance-{:016x}", SystemIds::default().next_u64())).expect("a key");
    suite::all(&run).await;
    eprintln!(
        "{url}: create-only puts {}",
        if run.is_fenced_weakly() { "are ignored" } else { "are honoured" }
    );
    let keys: Vec<String> = run.list_all("").await.expect("lists").into_iter().map(|o| o.key).collect();
    run.delete_all(&keys).await.expect("removes");
}
