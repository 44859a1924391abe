//! URLs, files, and a gateway with TLS that answers on loopback.

use super::*;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use testkit::pki::{Pki, Validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

fn push(url: &str) -> Push {
    Push { pushgateway: Some(url.parse().unwrap_or_else(|e| panic!("{url}: {e}"))), ..Push::default() }
}

#[test]
fn a_gateway_is_an_http_url_without_secrets() {
    let place: Place = "http://push.monitoring.svc:9091/".parse().unwrap();
    assert_eq!(
        (place.authority.as_str(), place.path.as_str(), place.secure),
        ("push.monitoring.svc:9091", "", false)
    );
    let place: Place = "https://push/below".parse().unwrap();
    assert_eq!((place.authority.as_str(), place.path.as_str(), place.secure), ("push:443", "/below", true));
    let place: Place = "https://[::1]:9091".parse().unwrap();
    assert_eq!((place.authority.as_str(), place.host.as_str(), place.loopback), ("[::1]:9091", "::1", true));
    for wrong in ["push:9091", "http://a:b@push", "https://a@push", "http://push/?x=1", "file:///x", ""] {
        assert!(wrong.parse::<Place>().is_err(), "{wrong}");
    }
}

#[test]
fn what_cannot_work_is_told_before_anything_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        Some(dir.path().join(name))
    };
    let (name, password, empty) = (file("name", "me\n"), file("password", "s3cret\n"), file("empty", "\n"));
    let refused = |push: Push, sign: &str| {
        let error = Gateway::of(&push).err().unwrap_or_else(|| panic!("{sign}"));
        assert_eq!(error.exit, telemetry::Exit::Usage);
        assert!(error.line.contains(sign), "{}", error.line);
    };
    let with = |url: &str, password: &Option<PathBuf>| Push {
        pushgateway_username_file: name.clone(),
        pushgateway_password_file: password.clone(),
        ..push(url)
    };
    refused(with("http://push:9091", &password), "in the clear");
    assert!(Gateway::of(&with("http://127.0.0.1:9091", &password)).unwrap().unwrap().authorization.is_some());
    refused(with("http://127.0.0.1:9091", &empty), "first line");
    refused(
        with("http://127.0.0.1:9091", &Some("/nowhere/password".into())),
        "cannot read /nowhere/password",
    );
    let ca = |url: &str, ca: Option<PathBuf>| Push { pushgateway_ca: ca, ..push(url) };
    refused(ca("http://127.0.0.1:9091", empty.clone()), "needs an https:// gateway");
    refused(ca("https://push", empty), "holds no authority");
    refused(ca("https://push", Some("/nowhere/ca".into())), "/nowhere/ca");
    assert!(Gateway::of(&Push::default()).unwrap().is_none());
}

/// Serves one connection and gives back what was sent, if the handshake worked.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor, answer: &'static str) -> Option<String> {
    let (socket, _) = listener.accept().await.unwrap();
    let mut socket = acceptor.accept(socket).await.ok()?;
    let mut request = Vec::new();
    while !request.ends_with(b"the numbers") {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0, "the request ended early");
    }
    socket.write_all(answer.as_bytes()).await.unwrap();
    let _ = socket.flush().await;
    Some(String::from_utf8(request).unwrap())
}

#[tokio::test]
async fn metrics_go_over_tls_with_a_password_and_only_to_the_right_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let (pki, stranger) = (Pki::new(dir.path(), "push"), Pki::new(dir.path(), "stranger"));
    let server = pki.issue("server", &["localhost", "127.0.0.1"], Validity::Now);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&server.cert).unwrap()],
            PrivateKeyDer::from_pem_file(&server.key).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    std::fs::write(dir.path().join("name"), "me\n").unwrap();
    std::fs::write(dir.path().join("password"), "s3:cret").unwrap();
    let seen = Seen { destination: "s3://b/etcd".into(), samples: Vec::new(), complete: true };
    let attempt = async |ca: PathBuf, answer: &'static str| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let push = Push {
            pushgateway_ca: Some(ca),
            pushgateway_username_file: Some(dir.path().join("name")),
            pushgateway_password_file: Some(dir.path().join("password")),
            ..push(&format!("https://{}/below", listener.local_addr().unwrap()))
        };
        let gateway = Gateway::of(&push).unwrap().unwrap();
        let serving = tokio::spawn(serve(listener, acceptor.clone(), answer));
        let sent = gateway.send("prod", &seen, "the numbers".into()).await;
        (sent, serving.await.unwrap())
    };
    let (sent, request) = attempt(pki.ca(), "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(sent, Ok(()));
    let request = request.unwrap();
    assert!(request.starts_with("PUT /below/metrics/job/etcd-shipper/cluster/prod/"), "{request}");
    let secret = BASE64_STANDARD.encode("me:s3:cret");
    assert!(request.contains(&format!("authorization: Basic {secret}\r\n")), "{request}");
    let (sent, _) = attempt(pki.ca(), "HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\nwrong").await;
    assert!(sent.unwrap_err().contains("401"));
    // Somebody else's certificate: nothing is said to it, the password least of all.
    let (sent, request) = attempt(stranger.ca(), "").await;
    assert!(sent.unwrap_err().contains("tls: "));
    assert_eq!(request, None);
}
