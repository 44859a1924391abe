//! The HTTP client below the SDK, watched for progress.
//!
//! Requests are limited in the time they go *without progress* (P7): bodies are handed over in 16 KiB pieces and counted, what of them lies in
//! the socket is asked of the kernel ([`super::socket`]), what follows from both is [`super::patience`]; answers are timed from piece to piece.
//! A request that hangs ends after `idle` and a look's time on top (an eighth of it), whatever its size; one that crawls goes on.
//!
//! Also kept here: the `Date` header (clock skew, trap 3) and the guard `forbid=minio`.

use super::patience::Patience;
use super::socket::unacknowledged;
use crate::ServerDate;
use aws_sdk_s3::config::{ConfigBag, RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use clock::Clock;
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::{Instant, Sleep, sleep, timeout};

const PIECE: usize = 16 << 10;
/// Looks at a request within the time it may go without progress.
const LOOKS: u32 = 8;

/// What is watched and remembered.
pub(super) struct Watch {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) idle: Duration,
    pub(super) forbid_minio: bool,
    pub(super) date: Mutex<Option<ServerDate>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// A watched HTTP client.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) inner: SharedHttpClient,
    pub(super) watch: Arc<Watch>,
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(WatchedConnector { inner, watch: self.watch.clone() })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        cfg: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_base_client_config(components, cfg)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, cfg: &ConfigBag) -> Result<(), BoxError> {
        self.inner.validate_final_config(components, cfg)
    }
}

#[derive(Debug)]
struct WatchedConnector {
    inner: SharedHttpConnector,
    watch: Arc<Watch>,
}

impl HttpConnector for WatchedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let sent = Arc::new(AtomicU64::new(0));
        let body = request.take_body();
        let length = body.content_length().unwrap_or(u64::MAX);
        if length > 0 {
            let pieces = Pieces { inner: body, rest: Bytes::new(), sent: sent.clone() };
            *request.body_mut() = SdkBody::from_body_1_x(pieces);
        }
        // Completing an upload and removing many keys take the server a while before it says a word.
        let patience = if request.method() == "POST" { 4 } else { 1 };
        let idle = self.watch.idle;
        let shared = request.uri().starts_with("https:");
        // The SDK asks for the connection too, to close one that has failed.
        let connection = request.extension::<CaptureSmithyConnection>().cloned();
        let mut answer = self.inner.call(request);
        let watch = self.watch.clone();
        HttpConnectorFuture::new(async move {
            let mut patience = Patience::new(idle * patience, length, shared, Instant::now());
            let mut response = loop {
                if let Ok(answer) = timeout(idle / LOOKS, &mut answer).await {
                    break answer?;
                }
                let queued = connection.as_ref().and_then(queued);
                if !patience.lasts(Instant::now(), sent.load(Relaxed), queued) {
                    return Err(ConnectorError::timeout(stalled(patience.limit()).into()));
                }
            };
            watch.note(&response)?;
            let inner = response.take_body();
            *response.body_mut() =
                SdkBody::from_body_1_x(Timed { inner, idle, timer: Box::pin(sleep(idle)) });
            Ok(response)
        })
    }
}

/// Bytes in the socket of the connection that a request has taken.
fn queued(connection: &CaptureSmithyConnection) -> Option<u64> {
    let connection = connection.get()?;
    unacknowledged(connection.local_addr()?, connection.remote_addr()?)
}

fn stalled(after: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no progress for {} s", after.as_secs_f32()))
}

impl Watch {
    fn note(&self, response: &HttpResponse) -> Result<(), ConnectorError> {
        let server = response.headers().get("server").unwrap_or_default();
        if self.forbid_minio && server.to_ascii_lowercase().contains("minio") {
            return Err(ConnectorError::user("the server is MinIO, which forbid=minio rules out".into()));
        }
        let date = response.headers().get("date").and_then(|text| httpdate::parse_http_date(text).ok());
        if let Some(since) = date.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
            let date = ServerDate { server_ms: since.as_millis() as i64, local_ms: self.clock.unix_ms() };
            *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
        }
        Ok(())
    }
}

/// A request body in pieces, each counted as it is taken.
struct Pieces {
    inner: SdkBody,
    rest: Bytes,
    sent: Arc<AtomicU64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let n = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(n);
        self.sent.fetch_add(n as u64, Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(inner.lower() + rest);
        hint
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }
}

/// A response body that fails when no piece arrives in time.
struct Timed {
    inner: SdkBody,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Body for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.timer.as_mut().reset(Instant::now() + this.idle);
            return Poll::Ready(frame);
        }
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(stalled(this.idle).into())))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
