//! One gRPC connection: TLS from files that are read at every run, bounded waiting, errors as sentences.
//!
//! Certificates of K3s and Talos are short-lived, so nothing is kept between runs. Only the first answer of a call is
//! bounded here; the snapshot stream has its own watch on progress ([`super::drain`]).

use crate::{Error, Result};
use prost::Message;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// How long connecting and any single answer may take.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// HashKV reads the whole key space of a member: seconds per GiB.
pub(crate) const HASH_ANSWER: Duration = Duration::from_secs(120);

/// The files of a client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authority that signed the servers' certificates.
    pub cacert: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// PEM texts of a client certificate.
#[derive(Clone)]
pub(crate) struct Pem {
    pub(crate) ca: Vec<u8>,
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsFiles {
    /// Reads them; `None` when none is given.
    pub(crate) fn read(&self) -> Result<Option<Pem>> {
        let text = |path: &Path, what: &str| -> Result<Vec<u8>> {
            std::fs::read(path).map_err(|error| {
                Error::Usage(format!("cannot read the {what} {}: {error}{}", path.display(), hint(&error)))
            })
        };
        match (&self.cacert, &self.cert, &self.key) {
            (None, None, None) => Ok(None),
            (None, ..) => {
                Err(Error::Usage("--cert and --key need --cacert, the authority of the servers".into()))
            }
            (Some(ca), None, None) => {
                Ok(Some(Pem { ca: text(ca, "authority")?, identity: None }.checked("--cacert")?))
            }
            (Some(ca), Some(cert), Some(key)) => {
                let identity = Some((text(cert, "client certificate")?, text(key, "client key")?));
                Ok(Some(Pem { ca: text(ca, "authority")?, identity }.checked("--cacert, --cert, --key")?))
            }
            _ => Err(Error::Usage("--cert and --key belong together".into())),
        }
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            " (etcd's client key belongs to root with mode 0600: run as uid 0)"
        }
        std::io::ErrorKind::NotFound => " (is the host path mounted?)",
        _ => "",
    }
}

impl Pem {
    /// Refuses texts that are not what they should be, before a handshake fails without a reason.
    pub(crate) fn checked(self, place: &str) -> Result<Self> {
        let wrong = |what: &str| Error::Usage(format!("{place}: {what}"));
        if CertificateDer::pem_slice_iter(&self.ca).next().is_none_or(|first| first.is_err()) {
            return Err(wrong("the authority holds no PEM certificate"));
        }
        if let Some((cert, key)) = &self.identity {
            if CertificateDer::pem_slice_iter(cert).next().is_none_or(|first| first.is_err()) {
                return Err(wrong("the client certificate holds no PEM certificate"));
            }
            if PrivateKeyDer::from_pem_slice(key).is_err() {
                return Err(wrong("the client key holds no PEM private key"));
            }
        }
        Ok(self)
    }
}

/// A connection to one endpoint.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) endpoint: String,
    grpc: Grpc<Channel>,
    metadata: MetadataMap,
}

impl Connection {
    /// Connects. `server_name` overrides the name that the certificate must have.
    pub(crate) async fn open(endpoint: &str, pem: Option<&Pem>) -> Result<Self> {
        let url = address(endpoint, pem.is_some())?;
        let failed =
            |error: &(dyn std::error::Error + 'static)| Error::Source(format!("{url}: {}", sentence(error)));
        let mut builder = Endpoint::from_shared(url.clone())
            .map_err(|error| Error::Usage(format!("endpoint {endpoint:?}: {error}")))?
            .connect_timeout(ANSWER)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(4 << 20);
        if let Some(pem) = pem {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pem.ca));
            if let Some((cert, key)) = &pem.identity {
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            builder = builder.tls_config(tls).map_err(|error| {
                Error::Usage(format!("the certificate files cannot be used: {}", sentence(&error)))
            })?;
        }
        let connecting = tokio::time::timeout(ANSWER * 2, builder.connect()).await;
        let channel = connecting
            .map_err(|_| Error::Source(format!("{url}: no connection within 20 s")))?
            .map_err(|error| failed(&error))?;
        Ok(Self { endpoint: url, grpc: Grpc::new(channel), metadata: MetadataMap::new() })
    }

    /// Adds metadata to every call (Talos picks a node by it).
    pub(crate) fn with_metadata(mut self, name: &'static str, value: &str) -> Result<Self> {
        let value = value.parse().map_err(|_| Error::Usage(format!("{name} {value:?} cannot be sent")))?;
        self.metadata.insert(name, value);
        Ok(self)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    /// One question, one answer, within `limit`.
    pub(crate) async fn call<Q, A>(
        &self,
        path: &'static str,
        question: Q,
        limit: Duration,
    ) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let call = async {
            grpc.ready().await.map_err(|error| Status::unavailable(sentence(&error)))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(self.request(question), PathAndQuery::from_static(path), codec).await
        };
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// One question, a stream of answers; the first must begin within [`ANSWER`].
    pub(crate) async fn stream<Q, A>(&self, path: &'static str, question: Q) -> Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let call = async {
            grpc.ready().await.map_err(|error| Status::unavailable(sentence(&error)))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.server_streaming(self.request(question), PathAndQuery::from_static(path), codec).await
        };
        match tokio::time::timeout(ANSWER, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer within 10 s")),
        }
    }

    /// A failed call as an error of ours.
    pub(crate) fn failed(&self, what: &str, status: &Status) -> Error {
        let place = &self.endpoint;
        match status.code() {
            Code::Unimplemented if status.message().contains("etcdserverpb.Maintenance") => {
                Error::Refused(format!(
                    "{place} is no etcd: this K3s uses SQLite (kine), which has no snapshots; back up \
                 /var/lib/rancher/k3s/server/db with wal-streamer, or convert the server with --cluster-init"
                ))
            }
            Code::PermissionDenied | Code::Unauthenticated => Error::Usage(format!(
                "{place}: {what} is not permitted: {} (etcd with auth needs root; Talos needs the role os:etcd:backup)",
                status.message()
            )),
            _ => Error::Source(format!("{place}: {what}: {}", message(status))),
        }
    }
}

/// What a status says, with the cause behind it.
pub(crate) fn message(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => format!("{} ({})", status.message(), sentence(source)),
        None => status.message().to_owned(),
    }
}

/// `https://host:2379` from what a user writes.
fn address(endpoint: &str, tls: bool) -> Result<String> {
    let endpoint = endpoint.trim().trim_end_matches('/');
    let url = match endpoint.split_once("://") {
        Some(("http", _)) if tls => {
            return Err(Error::Usage(format!(
                "{endpoint} is plain http, but certificates are given; write https://"
            )));
        }
        Some(("https", _)) if !tls => {
            return Err(Error::Usage(format!("{endpoint} needs --cacert, --cert and --key")));
        }
        Some(("http" | "https", _)) => endpoint.to_owned(),
        Some(_) => return Err(Error::Usage(format!("endpoint {endpoint:?} is neither http nor https"))),
        None => format!("{}://{endpoint}", if tls { "https" } else { "http" }),
    };
    let parsed =
        url::Url::parse(&url).map_err(|error| Error::Usage(format!("endpoint {endpoint:?}: {error}")))?;
    let loopback = match parsed.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err(Error::Usage(format!("endpoint {endpoint:?} has no host"))),
    };
    if !tls && !loopback {
        return Err(Error::Usage(format!(
            "{endpoint} without certificates would send every secret of the cluster in the clear; only loopback may"
        )));
    }
    Ok(url)
}

/// All causes of an error in one line, and what to do about the known ones.
pub(crate) fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    let text = parts.join(": ").replace('\n', " ");
    for (sign, hint) in HINTS {
        if text.contains(sign) {
            return format!("{text} ({hint})");
        }
    }
    text
}

/// A connection that ends without a word.
const HUNG_UP: &str =
    "the server hung up: it may refuse our client certificate, expired or of another authority";

/// What a handshake or a connection says, and what is wrong then.
const HINTS: [(&str, &str); 14] = [
    (
        "CertificateExpired",
        "our client certificate has expired; K3s renews it at a restart, Talos every 6 hours",
    ),
    ("invalid peer certificate: Expired", "the server's certificate has expired, or this clock is wrong"),
    ("certificate expired", "the server's certificate has expired, or this clock is wrong"),
    ("NotValidYet", "the certificate is not valid yet: is this clock wrong?"),
    ("UnknownCA", "the server does not know the authority of our client certificate"),
    ("UnknownIssuer", "--cacert is not the authority of this server"),
    ("NotValidForName", "the server's certificate does not name this address; use one that it lists"),
    ("CertificateRequired", "the server wants a client certificate: give --cert and --key"),
    ("BadCertificate", "the server refuses our client certificate: expired, or of another authority"),
    // With TLS 1.3 the refusal comes after the handshake, and the end of the connection may overtake it.
    ("connection closed", HUNG_UP),
    ("broken pipe", HUNG_UP),
    // Where the server closes with something of ours unread; as an error without a number, and as the system's own.
    ("connection reset", HUNG_UP),
    ("Connection reset", HUNG_UP),
    ("Connection refused", "nothing listens there: is this an etcd node, and the port 2379?"),
];

#[cfg(test)]
mod tests;
