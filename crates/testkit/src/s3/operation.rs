//! Which S3 operation an HTTP request is, told from method, path and query alone.
//!
//! Used for counting and for aiming faults; it acts before authentication and knows path-style addresses only.

use hyper::{HeaderMap, Method, Uri};

/// The operations that are counted and aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// PutObject.
    Put,
    /// CopyObject.
    Copy,
    /// GetObject.
    Get,
    /// HeadObject and HeadBucket.
    Head,
    /// ListObjects (both versions), ListMultipartUploads, ListParts, ListBuckets.
    List,
    /// DeleteObject and DeleteObjects (one request each).
    Delete,
    /// CreateMultipartUpload.
    MultipartCreate,
    /// UploadPart.
    UploadPart,
    /// CompleteMultipartUpload.
    Complete,
    /// AbortMultipartUpload.
    Abort,
    /// Everything else.
    Other,
}

impl Operation {
    /// The operation and the (still percent-encoded) key.
    pub(super) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> (Operation, String) {
        let path = uri.path().trim_start_matches('/');
        let (_bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = uri.query().unwrap_or("");
        let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let operation = match (method.as_str(), key.is_empty()) {
            ("GET", true) => Operation::List,
            ("POST", true) if has("delete") => Operation::Delete,
            ("HEAD", _) => Operation::Head,
            ("GET", false) if has("uploadId") => Operation::List,
            ("GET", false) => Operation::Get,
            ("PUT", false) if has("uploadId") => Operation::UploadPart,
            ("PUT", false) if headers.contains_key("x-amz-copy-source") => Operation::Copy,
            ("PUT", false) => Operation::Put,
            ("DELETE", false) if has("uploadId") => Operation::Abort,
            ("DELETE", false) => Operation::Delete,
            ("POST", false) if has("uploads") => Operation::MultipartCreate,
            ("POST", false) if has("uploadId") => Operation::Complete,
            _ => Operation::Other,
        };
        (operation, key.to_owned())
    }

    /// Whether it reads object content or its metadata.
    pub(super) fn reads(self) -> bool {
        matches!(self, Operation::Get | Operation::Head)
    }

    /// Whether it creates or changes objects.
    pub(super) fn writes(self) -> bool {
        use Operation::*;
        matches!(self, Put | Copy | MultipartCreate | UploadPart | Complete)
    }
}
