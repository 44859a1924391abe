//! The HTTP layer in front of the store: counts every request and lets the faults act.
//!
//! A request passes: count, latency, the first matching rule, the switches (which refuse like S3 would), the store,
//! and on the way back the `Date` header and the metered body. A returned error cuts the connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError};

use super::body::{Direction, Metered};
use super::counts::{self, Ledger};
use super::faults::{Action, Faults};
use super::operation::Operation;

/// How far client and server clocks may be apart on S3.
const MAX_SKEW_MS: i64 = 15 * 60 * 1000;

/// See the module.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) service: S3Service,
    pub(super) faults: Arc<Faults>,
    pub(super) ledger: Arc<Ledger>,
}

/// Refusals and cuts, before they are HTTP.
enum Verdict {
    Refuse(u16, String),
    Cut,
}

impl Gate {
    pub(super) async fn call(self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let (operation, key) = Operation::of(request.method(), request.uri(), request.headers());
        let mut entry = counts::Request {
            at: self.ledger.now(),
            operation,
            method: request.method().to_string(),
            key: key.clone(),
            detail: detail(&request),
            status: None,
            fault: None,
        };
        self.ledger.arrived(operation);
        if self.faults.is_unavailable() {
            entry.fault = Some("unavailable".to_owned());
            self.ledger.answered(entry);
            return Err(cut("unavailable"));
        }
        let latency = self.faults.current_latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let action = self.faults.take(operation, request.method().as_str(), &key);
        entry.fault = action.as_ref().map(|action| format!("{action:?}"));
        let head = request.method() == Method::HEAD;
        let verdict = self.judge(&request, operation, action.as_ref());
        let answer = match verdict {
            Some(Verdict::Cut) => Err(cut("fault")),
            Some(Verdict::Refuse(status, code)) => {
                entry.fault.get_or_insert_with(|| code.clone());
                self.swallow(request.into_body()).await;
                Ok(self.refusal(status, &code, head))
            }
            None => self.perform(request, operation, &key, action).await,
        };
        entry.status = answer.as_ref().ok().map(|response| response.status().as_u16());
        self.ledger.answered(entry);
        answer
    }

    fn judge(
        &self,
        request: &Request<Incoming>,
        operation: Operation,
        action: Option<&Action>,
    ) -> Option<Verdict> {
        match action {
            Some(Action::Fail { status, code }) => return Some(Verdict::Refuse(*status, code.clone())),
            Some(Action::FailInside200(code)) => return Some(Verdict::Refuse(200, code.clone())),
            Some(Action::DropBefore) => return Some(Verdict::Cut),
            _ => {}
        }
        let faults = &self.faults;
        let denied = faults.denies_all()
            || faults.denies_reads() && operation.reads()
            || faults.denies_lists() && operation == Operation::List
            || faults.denies_writes() && operation.writes()
            || faults.denies_deletes() && matches!(operation, Operation::Delete | Operation::Abort);
        if faults.credentials_expired() {
            Some(Verdict::Refuse(400, "ExpiredToken".to_owned()))
        } else if denied {
            Some(Verdict::Refuse(403, "AccessDenied".to_owned()))
        } else if faults.requires_clock() && self.clock_is_off(request) {
            Some(Verdict::Refuse(403, "RequestTimeTooSkewed".to_owned()))
        } else {
            None
        }
    }

    async fn perform(
        &self,
        request: Request<Incoming>,
        operation: Operation,
        key: &str,
        action: Option<Action>,
    ) -> Result<Response<Body>, HttpError> {
        if let Some(Action::Delay(delay)) = action {
            tokio::time::sleep(delay).await;
        }
        if action == Some(Action::Hang) {
            self.swallow(request.into_body()).await;
            return std::future::pending().await;
        }
        let request = request.map(|body| {
            Body::http_body(Metered::new(body, Direction::In, self.faults.clone(), self.ledger.clone()))
        });
        let response = self.service.call(request).await?;
        if action == Some(Action::LoseReply) {
            return Err(cut("reply lost"));
        }
        let (mut parts, body) = response.into_parts();
        parts.headers.insert(DATE, self.date());
        let mut body = Metered::new(body, Direction::Out, self.faults.clone(), self.ledger.clone());
        if operation == Operation::Get && parts.status.is_success() {
            let (start, size) = extent(&parts.headers);
            body.flip = self.faults.flip_of(key, size).and_then(|offset| offset.checked_sub(start));
        }
        if let Some(Action::Truncate(after)) = action {
            body.truncate = Some(after);
        }
        Ok(Response::from_parts(parts, Body::http_body(body)))
    }

    /// Reads what the client sends, so that it sees the answer and not a broken pipe.
    async fn swallow(&self, body: Incoming) {
        let mut body = Metered::new(body, Direction::In, self.faults.clone(), self.ledger.clone());
        while let Some(Ok(_)) = body.frame().await {}
    }

    fn refusal(&self, status: u16, code: &str, head: bool) -> Response<Body> {
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>injected fault</Message>\
             <RequestId>fault</RequestId></Error>"
        );
        let body = if head { Body::empty() } else { Body::from(xml) };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).expect("faults use real statuses");
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        response.headers_mut().insert(DATE, self.date());
        response
    }

    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(self.faults.skew_ms())
    }

    fn date(&self) -> HeaderValue {
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now_ms()).unwrap_or(0));
        HeaderValue::from_str(&httpdate::fmt_http_date(now)).expect("dates are ASCII")
    }

    fn clock_is_off(&self, request: &Request<Incoming>) -> bool {
        let date = request.headers().get("x-amz-date").and_then(|value| value.to_str().ok()).unwrap_or("");
        let Some(client) = amz_date_ms(date) else { return true };
        (client - self.now_ms()).abs() > MAX_SKEW_MS
    }
}

/// `20260102T030405Z`.
fn amz_date_ms(date: &str) -> Option<i64> {
    let part = |range: std::ops::Range<usize>| date.get(range);
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?
    );
    clock::parse_unix_ms(&text)
}

/// Where a response body starts in its object, and the object's size.
fn extent(headers: &HeaderMap) -> (u64, u64) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let ranged = text(CONTENT_RANGE).and_then(|range| {
        let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
    });
    ranged.unwrap_or((0, text(CONTENT_LENGTH).and_then(|length| length.parse().ok()).unwrap_or(0)))
}

fn detail(request: &Request<Incoming>) -> String {
    let mut detail = request.uri().query().unwrap_or("").to_owned();
    for name in ["range", "if-none-match", "if-match"] {
        if let Some(value) = request.headers().get(name).and_then(|value| value.to_str().ok()) {
            detail.push_str(&format!(" {name}={value}"));
        }
    }
    detail
}

fn cut(why: &str) -> HttpError {
    HttpError::new(io::Error::other(why.to_owned()).into())
}
