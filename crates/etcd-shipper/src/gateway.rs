//! Pushing to a Pushgateway: one request per destination, over plain http or TLS, with name and password where it asks for them.
//!
//! A Pushgateway has neither TLS nor passwords by default; behind a proxy, or with its web configuration file, it has both. Certificates are always
//! checked, against `--pushgateway-ca` or the authorities of the system; a password is read from files at every run and leaves by TLS only
//! (or on loopback). What is wrong with these is told before anything is taken. A gateway that is away fails nothing.

use crate::cli::Push;
use crate::metrics::{Seen, text};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use door::Failure;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Url;

#[cfg(test)]
mod tests;

/// For one push, from the connection to the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are looked at.
const ANSWER: usize = 4 << 10;

/// Where a Pushgateway listens: `http(s)://HOST:PORT`, perhaps with a path before `/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    secure: bool,
    loopback: bool,
    host: String,
    authority: String,
    path: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(format!("{other:?} is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("name and password come from --pushgateway-username-file and --pushgateway-password-file, not from the URL".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a Pushgateway's URL ends with its path".into());
        }
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err("there is no host".into()),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("there is no host")?;
        let port = url.port_or_known_default().unwrap_or(if secure { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        let host = host.trim_matches(['[', ']']).to_owned();
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { secure, loopback, host, authority, path })
    }
}

/// A gateway that can be spoken to.
pub(crate) struct Gateway {
    place: Place,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Basic authentication.
    authorization: Option<HeaderValue>,
}

impl Gateway {
    /// The one of the command line, if there is one; files are read here.
    pub(crate) fn of(push: &Push) -> Result<Option<Self>, Failure> {
        let Some(place) = &push.pushgateway else { return Ok(None) };
        let secret = match (&push.pushgateway_username_file, &push.pushgateway_password_file) {
            (Some(name), Some(password)) => Some((line(name)?, line(password)?)),
            _ => None,
        };
        let tls = match (place.secure, &push.pushgateway_ca) {
            (true, ca) => Some(tls(place, ca.as_deref())?),
            (false, None) => None,
            (false, Some(_)) => return Err(Failure::usage("--pushgateway-ca needs an https:// gateway")),
        };
        if secret.is_some() && tls.is_none() && !place.loopback {
            return Err(Failure::usage(
                "a password for a plain http gateway would be sent in the clear; use https://",
            ));
        }
        let authorization = secret.map(|(name, password)| {
            let text = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
            let mut value = HeaderValue::from_str(&text).expect("base64 is a header's text");
            value.set_sensitive(true);
            value
        });
        Ok(Some(Self { place: place.clone(), tls, authorization }))
    }

    /// One group per destination, so that one that cannot be read keeps what it had: a complete one replaces its group, the other
    /// only adds to it. Failures are told, and are no failure of the run.
    pub(crate) async fn push(&self, cluster: &str, seen: &[Seen]) {
        for one in seen {
            let pushed = match text(&one.samples) {
                Ok(text) => tokio::time::timeout(PATIENCE, self.send(cluster, one, text)).await,
                Err(error) => Ok(Err(error.line)),
            };
            let why = match pushed {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
            };
            tracing::warn!(
                gateway = self.place.authority,
                destination = one.destination,
                why,
                "metrics were not pushed"
            );
        }
    }

    pub(crate) async fn send(&self, cluster: &str, one: &Seen, text: String) -> Result<(), String> {
        let group = BASE64_URL_SAFE_NO_PAD.encode(&one.destination);
        let Place { path, authority, .. } = &self.place;
        let mut request = Request::builder()
            .method(if one.complete { Method::PUT } else { Method::POST })
            .uri(format!("{path}/metrics/job/etcd-shipper/cluster/{cluster}/destination@base64/{group}"))
            .header("host", authority)
            .header("content-type", "text/plain; version=0.0.4");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::new(Bytes::from(text))).map_err(|error| error.to_string())?;
        let socket = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
        match &self.tls {
            None => exchange(socket, request).await,
            Some((connector, name)) => {
                let secured = connector.connect(name.clone(), socket).await;
                exchange(secured.map_err(|error| format!("tls: {error}"))?, request).await
            }
        }
    }
}

/// One request and its answer, on a connection of its own.
async fn exchange<S>(socket: S, request: Request<Full<Bytes>>) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(said)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(said)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await;
    connection.abort();
    if status.is_success() {
        return Ok(());
    }
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    Err(format!("status {status}: {}", text.lines().next().unwrap_or_default()))
}

/// The first line of a file that holds a name or a password.
fn line(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() {
        return Err(Failure::usage(format!("{} holds nothing in its first line", path.display())));
    }
    Ok(first.to_owned())
}

fn tls(place: &Place, ca: Option<&Path>) -> Result<(TlsConnector, ServerName<'static>), Failure> {
    let mut roots = RootCertStore::empty();
    let from = match ca {
        Some(path) => {
            let refuse = |why: String| Failure::usage(format!("--pushgateway-ca {}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| refuse(format!("not a PEM file: {error}")))?;
                roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
            }
            path.display().to_string()
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "the system".to_owned()
        }
    };
    if roots.is_empty() {
        return Err(Failure::usage(format!("{from} holds no authority for the gateway's certificate")));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::usage(format!("tls: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(place.host.clone())
        .map_err(|error| Failure::usage(format!("--pushgateway: {}: {error}", place.host)))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
