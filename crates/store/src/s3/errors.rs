//! What a server's answer means.
//!
//! P6: only the code `NoSuchKey` proves that an object is absent. A 404 without it may be a proxy, a wrong endpoint or
//! a missing bucket, and says nothing about objects.

use crate::{DeniedReason, Error, Trouble};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::error::Error as StdError;

/// What was asked, for messages.
pub(super) struct Asked<'a> {
    pub(super) operation: &'static str,
    pub(super) key: &'a str,
    pub(super) bucket: &'a str,
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} s3://{}/{}", self.operation, self.bucket, self.key)
    }
}

/// The store error of an SDK error.
pub(super) fn from_sdk<E>(asked: &Asked<'_>, error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            answer(
                asked,
                service.raw().status().as_u16(),
                meta.code().unwrap_or(""),
                meta.message().unwrap_or(""),
            )
        }
        SdkError::TimeoutError(_) => Error::unavailable(asked, Trouble::Timeout, DisplayErrorContext(&error)),
        SdkError::DispatchFailure(failure) => {
            let detail = causes(&error);
            if failure.is_timeout() {
                Error::unavailable(asked, Trouble::Timeout, detail)
            } else if detail.contains("certificate") {
                let hint = "the server's certificate is not trusted; name its authority with ca=FILE";
                Error::Refused(format!("{asked}: {hint} ({detail})"))
            } else if failure.is_user() {
                Error::Refused(format!("{asked}: {detail}"))
            } else {
                Error::unavailable(asked, Trouble::Connect, detail)
            }
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            Error::unavailable(asked, Trouble::Server, format!("status {status}, {}", causes(&error)))
        }
        _ => Error::other(asked, causes(&error)),
    }
}

/// The error of an answer with an S3 error code; `code` is empty where the answer had none.
pub(super) fn answer(asked: &Asked<'_>, status: u16, code: &str, message: &str) -> Error {
    let detail = if code.is_empty() { format!("status {status}") } else { format!("{code}: {message}") };
    let key = asked.key;
    match (code, status) {
        ("NoSuchKey" | "NoSuchUpload", _) => Error::not_found(key),
        ("NoSuchBucket", _) => Error::NoRoot {
            root: format!("bucket {}", asked.bucket),
            hint: "create it, or check the name, the region and the endpoint".to_owned(),
        },
        ("RequestTimeTooSkewed", _) => Error::denied(asked, DeniedReason::ClockSkew, detail),
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidSecurity"
            | "AuthorizationHeaderMalformed",
            _,
        )
        | (_, 401) => Error::denied(asked, DeniedReason::Credentials, detail),
        (
            "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "SlowDownWrite"
            | "SlowDownRead",
            _,
        )
        | (_, 429) => Error::unavailable(asked, Trouble::Throttled, detail),
        ("RequestTimeout", _) | (_, 408) => Error::unavailable(asked, Trouble::Timeout, detail),
        (
            "InternalError"
            | "ServiceUnavailable"
            | "IncompleteBody"
            | "BadDigest"
            | "XAmzContentSHA256Mismatch",
            _,
        )
        | (_, 500..=599)
            if code != "NotImplemented" =>
        {
            Error::unavailable(asked, Trouble::Server, detail)
        }
        ("PreconditionFailed", _) | (_, 412) => Error::exists(key),
        ("ConditionalRequestConflict" | "OperationAborted", _) | (_, 409) => {
            Error::unavailable(asked, Trouble::Conflict, detail)
        }
        (_, 403) => Error::denied(asked, DeniedReason::Access, detail),
        ("InvalidRange", _) | (_, 416) => {
            Error::corrupt(key, format!("the range starts beyond the end ({detail})"))
        }
        (_, 301 | 307 | 308) => Error::Refused(format!("{asked}: wrong region or endpoint ({detail})")),
        ("", 404) => Error::other(asked, "status 404 without an S3 error; is the endpoint right?"),
        (_, 400 | 405 | 411 | 501) => {
            Error::Refused(format!("{asked}: the store refuses the request ({detail})"))
        }
        _ => Error::other(asked, detail),
    }
}

/// The chain of causes without the SDK's debug output.
fn causes(error: &dyn StdError) -> String {
    let mut out = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !out.contains(&text) {
            if !out.is_empty() {
                out.push_str(": ");
            }
            out.push_str(&text);
        }
        next = cause.source();
    }
    if out.is_empty() { error.to_string() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    #[test]
    fn answers_of_servers() {
        let asked = Asked { operation: "put", key: "k", bucket: "b" };
        let cases: [(u16, &str, Class, &str); 18] = [
            (404, "NoSuchKey", Class::Fatal, "not_found"),
            (404, "NoSuchBucket", Class::Fatal, "no_root"),
            (404, "", Class::Fatal, "other"),
            (412, "PreconditionFailed", Class::Refused, "conflict"),
            (409, "ConditionalRequestConflict", Class::Retriable, "conflict"),
            (403, "RequestTimeTooSkewed", Class::Fatal, "clock_skew"),
            (403, "SignatureDoesNotMatch", Class::Fatal, "bad_credentials"),
            (403, "AccessDenied", Class::Fatal, "access_denied"),
            (403, "", Class::Fatal, "access_denied"),
            (503, "SlowDown", Class::Retriable, "throttled"),
            (429, "", Class::Retriable, "throttled"),
            (503, "", Class::Retriable, "server"),
            (200, "InternalError", Class::Retriable, "server"),
            (400, "RequestTimeout", Class::Retriable, "timeout"),
            (501, "NotImplemented", Class::Refused, "refused"),
            (301, "PermanentRedirect", Class::Refused, "refused"),
            (400, "InvalidArgument", Class::Refused, "refused"),
            (418, "Teapot", Class::Fatal, "other"),
        ];
        for (status, code, class, reason) in cases {
            let error = answer(&asked, status, code, "m");
            assert_eq!((error.class(), error.reason()), (class, reason), "{status} {code}");
        }
    }
}
