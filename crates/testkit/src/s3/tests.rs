//! The store's semantics as S3 clients rely on them, through signed HTTP.

use std::fs;
use std::sync::{Arc, Barrier};
use std::thread;

use md5::{Digest, Md5};

use super::{Client, S3Server};

fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| Some(rest.split_once(close)?.0)).collect()
}

fn upload(client: &mut Client, key: &str, parts: &[&[u8]], headers: &[(&str, &str)]) -> (u16, String) {
    let created = client.send("POST", key, "uploads=", &[("x-amz-meta-kind", "multi")], b"").unwrap().text();
    let id = between(&created, "<UploadId>", "</UploadId>")[0].to_owned();
    let mut list = String::new();
    for (index, part) in parts.iter().enumerate() {
        let number = index + 1;
        let query = format!("partNumber={number}&uploadId={id}");
        let etag = client.send("PUT", key, &query, &[], part).unwrap().header("etag").to_owned();
        list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    }
    let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let reply = client.send("POST", key, &format!("uploadId={id}"), headers, body.as_bytes()).unwrap();
    (reply.status, reply.text())
}

#[test]
fn put_get_head_keep_bytes_etag_and_metadata() {
    let server = S3Server::start();
    let mut client = server.client();
    let put = client.send("PUT", "a/b.bin", "", &[("x-amz-meta-txid", "42")], b"hello world").unwrap();
    let etag = format!("\"{}\"", hex::encode(Md5::digest("hello world")));
    assert_eq!((put.status, put.header("etag")), (200, etag.as_str()));
    let get = client.get("a/b.bin").unwrap();
    assert_eq!((get.status, get.text().as_str(), get.header("x-amz-meta-txid")), (200, "hello world", "42"));
    assert_eq!(get.header("etag"), etag);
    let head = client.send("HEAD", "a/b.bin", "", &[], b"").unwrap();
    assert_eq!(
        (head.status, head.header("content-length"), head.header("x-amz-meta-txid")),
        (200, "11", "42")
    );
    assert_eq!(client.get("a/none").unwrap().status, 404);
    assert_eq!(client.send("HEAD", "a/none", "", &[], b"").unwrap().status, 404);
    assert_eq!(client.get("a/b.bin/below").unwrap().status, 404);
    assert_eq!(fs::read(server.object("a/b.bin")).unwrap(), b"hello world");
}

#[test]
fn empty_objects_and_ranges() {
    let server = S3Server::start();
    let mut client = server.client();
    client.put("empty", b"").unwrap();
    assert_eq!(client.get("empty").unwrap().body, b"");
    client.put("ten", b"0123456789").unwrap();
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=8-99", 206, "89", "bytes 8-9/10"),
    ] {
        let reply = client.send("GET", "ten", "", &[("range", range)], b"").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{range}");
        assert_eq!(reply.header("content-range"), content_range);
    }
    assert_eq!(client.send("GET", "ten", "", &[("range", "bytes=10-")], b"").unwrap().status, 416);
}

#[test]
fn create_only_puts_collide() {
    let server = S3Server::start();
    let mut client = server.client();
    assert_eq!(client.create("claim", b"first").unwrap().status, 200);
    let second = client.create("claim", b"second").unwrap();
    assert_eq!(second.status, 412);
    assert!(second.text().contains("<Code>PreconditionFailed</Code>"), "{}", second.text());
    assert_eq!(client.get("claim").unwrap().body, b"first");
    server.faults().ignore_conditions(true);
    assert_eq!(client.create("claim", b"third").unwrap().status, 200);
    assert_eq!(client.get("claim").unwrap().body, b"third");
}

#[test]
fn only_one_of_many_racing_creators_wins() {
    let server = S3Server::start();
    let port = server.port();
    let barrier = Arc::new(Barrier::new(8));
    let racers: Vec<_> = (0..8)
        .map(|racer: u8| {
            let barrier = barrier.clone();
            thread::spawn(move || {
                let mut client = Client::new(port);
                (0..20)
                    .map(|round| {
                        barrier.wait();
                        let status = client.create(&format!("race/{round}"), &[racer; 1000]).unwrap().status;
                        u32::from(status == 200)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let wins = racers.into_iter().map(|racer| racer.join().unwrap());
    let sums = wins.fold(vec![0; 20], |sums, won| sums.iter().zip(won).map(|(a, b)| a + b).collect());
    assert_eq!(sums, vec![1; 20]);
}

#[test]
fn compare_and_swap() {
    let server = S3Server::start();
    let mut client = server.client();
    let etag = client.put("cas", b"one").unwrap().header("etag").to_owned();
    let swap = |client: &mut Client, key: &str, etag: &str| {
        client.send("PUT", key, "", &[("if-match", etag)], b"two").unwrap().status
    };
    assert_eq!(swap(&mut client, "cas", &etag), 200);
    assert_eq!(swap(&mut client, "cas", &etag), 412);
    assert_eq!(swap(&mut client, "none", &etag), 404);
}

#[test]
fn multipart_keeps_metadata_and_is_create_only_too() {
    let server = S3Server::start();
    let mut client = server.client();
    let (big, tail) = (vec![7u8; 5 << 20], vec![9u8; 100]);
    let create = [("if-none-match", "*")];
    let (status, text) = upload(&mut client, "multi", &[&big, &tail], &create);
    let md5s = [Md5::digest(&big), Md5::digest(&tail)].concat();
    assert_eq!(status, 200, "{text}");
    assert!(text.contains(&format!("{}-2", hex::encode(Md5::digest(md5s)))), "{text}");
    let got = client.get("multi").unwrap();
    assert_eq!(
        (got.body, got.headers["x-amz-meta-kind"].as_str()),
        ([big.clone(), tail.clone()].concat(), "multi")
    );
    assert_eq!(server.unfinished_uploads(), 0);

    assert_eq!(upload(&mut client, "multi", &[&tail], &create).0, 412);
    assert_eq!(client.get("multi").unwrap().body.len(), big.len() + tail.len());
    assert_eq!(server.unfinished_uploads(), 1);
    let listed = client.send("GET", "", "uploads=", &[], b"").unwrap().text();
    let id = between(&listed, "<UploadId>", "</UploadId>")[0].to_owned();
    assert_eq!(client.send("DELETE", "multi", &format!("uploadId={id}"), &[], b"").unwrap().status, 204);
    assert_eq!(server.unfinished_uploads(), 0);
    assert_eq!(client.send("DELETE", "multi", &format!("uploadId={id}"), &[], b"").unwrap().status, 404);

    let (status, text) = upload(&mut client, "small", &[&tail, &tail], &[]);
    assert_eq!((status, text.contains("EntityTooSmall")), (400, true), "{text}");
    server.faults().allow_small_parts(true);
    assert_eq!(upload(&mut client, "small", &[&tail, &tail], &[]).0, 200);
    let counts = server.counts();
    assert_eq!((counts.multipart_create, counts.upload_part, counts.complete, counts.abort), (4, 7, 4, 2));
}

#[test]
fn listing_pages_in_byte_order() {
    let server = S3Server::start();
    let mut client = server.client();
    let mut keys: Vec<_> = (0..1100).map(|i| format!("page/{i:05}")).collect();
    keys.extend(["page-x", "page.y", "page/00007/below", "pagf"].map(str::to_owned));
    keys.retain(|key| key != "page/00007");
    keys.sort();
    for key in &keys {
        let path = server.object(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, key).unwrap();
    }
    let (mut found, mut pages, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let text = client.send("GET", "", &format!("{token}list-type=2"), &[], b"").unwrap().text();
        let page = between(&text, "<Key>", "</Key>");
        pages.push(page.len());
        found.extend(page.into_iter().map(str::to_owned));
        match between(&text, "<NextContinuationToken>", "</NextContinuationToken>").first() {
            Some(next) => token = format!("continuation-token={next}&"),
            None => break,
        }
    }
    assert_eq!(found, keys);
    assert_eq!(pages, [1000, 103]);
    assert_eq!(server.keys("page/00007"), ["page/00007/below"]);

    let list = |client: &mut Client, query: &str| client.send("GET", "", query, &[], b"").unwrap().text();
    let after = list(&mut client, "list-type=2&max-keys=2&prefix=page%2F&start-after=page%2F00006");
    assert_eq!(between(&after, "<Key>", "</Key>"), ["page/00007/below", "page/00008"]);
    assert!(after.contains(&hex::encode(Md5::digest("page/00008"))));
    let grouped = list(&mut client, "delimiter=%2F&list-type=2&prefix=pag");
    assert_eq!(between(&grouped, "<Key>", "</Key>"), ["page-x", "page.y", "pagf"]);
    assert_eq!(between(&grouped, "<CommonPrefixes><Prefix>", "</Prefix>"), ["page/"]);
    let first = list(&mut client, "delimiter=%2F&list-type=2&max-keys=3");
    let token = between(&first, "<NextContinuationToken>", "</NextContinuationToken>")[0];
    let second = list(&mut client, &format!("continuation-token={token}&delimiter=%2F&list-type=2"));
    assert_eq!(between(&second, "<Key>", "</Key>"), ["pagf"]);
    let old = list(&mut client, "max-keys=1&prefix=page%2F");
    assert_eq!(between(&old, "<Key>", "</Key>"), ["page/00000"]);
}

#[test]
fn deletes_are_idempotent_and_come_in_batches() {
    let server = S3Server::start();
    let mut client = server.client();
    for key in ["d/1", "d/2", "d/e/3"] {
        client.put(key, b"x").unwrap();
    }
    assert_eq!(client.send("DELETE", "d/1", "", &[], b"").unwrap().status, 204);
    assert_eq!(client.send("DELETE", "d/1", "", &[], b"").unwrap().status, 204);
    let body = "<Delete><Object><Key>d/2</Key></Object><Object><Key>d/e/3</Key></Object></Delete>";
    let reply = client.send("POST", "", "delete=", &[], body.as_bytes()).unwrap();
    assert_eq!(between(&reply.text(), "<Key>", "</Key>"), ["d/2", "d/e/3"], "{}", reply.text());
    assert!(server.keys("").is_empty());
    assert!(!server.object("d").exists());
}

#[test]
fn signatures_are_checked() {
    let server = S3Server::start();
    let port = server.port();
    assert_eq!(Client::new(port).with_credentials("test-access", "wrong").put("k", b"").unwrap().status, 403);
    assert_eq!(
        Client::new(port).with_credentials("nobody", "test-secret").put("k", b"").unwrap().status,
        403
    );
    server.faults().set_credentials("rotated", "secret-2");
    assert_eq!(server.client().put("k", b"").unwrap().status, 403);
    assert_eq!(Client::new(port).with_credentials("rotated", "secret-2").put("k", b"").unwrap().status, 200);
    assert_eq!(server.counts().errors, 3);
}

#[test]
fn a_directory_survives_its_server_and_planted_files_are_objects() {
    let scratch = tempfile::tempdir().unwrap();
    let server = S3Server::start_in(scratch.path().to_owned());
    let port = server.port();
    server.client().send("PUT", "kept", "", &[("x-amz-meta-a", "b")], b"kept").unwrap();
    drop(server);
    assert!(Client::new(port).get("kept").is_err());
    let server = S3Server::start_in_on(scratch.path().to_owned(), port);
    assert_eq!(server.client().get("kept").unwrap().header("x-amz-meta-a"), "b");
    fs::write(server.object("kept"), b"changed").unwrap();
    let changed = server.client().get("kept").unwrap();
    assert_eq!(changed.header("etag"), format!("\"{}\"", hex::encode(Md5::digest("changed"))));
}

#[test]
fn counts_and_log_tell_requests_and_bytes() {
    let server = S3Server::start();
    let mut client = server.client();
    client.put("c", &[1; 1000]).unwrap();
    client.get("c").unwrap();
    client.send("GET", "", "list-type=2", &[], b"").unwrap();
    let counts = server.counts();
    assert_eq!((counts.put, counts.get, counts.list, counts.total()), (1, 1, 1, 3));
    assert_eq!(counts.bytes_in, 1000);
    assert!(counts.bytes_out >= 1000);
    assert_eq!(server.log()[1].key, "c");
    server.reset();
    assert_eq!(server.counts().total(), 0);
    assert!(server.log().is_empty());
}

#[test]
fn tls_shows_a_certificate_of_its_ca() {
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, Stream, crypto::ring};
    let server = S3Server::start_tls();
    let talk = |roots: RootCertStore| {
        use std::io::{Read, Write};
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        let mut stream = Stream::new(&mut tls, &mut socket);
        stream.write_all(b"GET /bucket-hw/x HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        std::io::Result::Ok(head)
    };
    let mut roots = RootCertStore::empty();
    assert!(talk(roots.clone()).is_err());
    roots.add(CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).unwrap()).unwrap();
    assert_eq!(&talk(roots).unwrap(), b"HTTP/1.1 403");
    assert!(server.url("p").starts_with("s3://bucket-hw/p?endpoint=https://localhost:"));
}
