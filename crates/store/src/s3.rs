//! `s3://`: S3 and what speaks its protocol (AWS, MinIO, Garage, R2).
//!
//! One call is one request. The exceptions, both rare and documented: the first `head` of a missing key asks once more,
//! because HEAD answers 404 for a missing bucket too (P6); and a listing page without keys is read on.
//!
//! - Create-only is `If-None-Match: *`, at `PutObject` and at `CompleteMultipartUpload`.
//! - In-memory bodies are signed with their SHA-256, so that the server checks them, with or without TLS.
//! - Checksum headers are sent only where S3 demands them; many servers refuse the others.
//! - A clock that is off by more than the store tolerates costs one refused request; the SDK then signs with the
//!   server's time. [`crate::Store::server_date_skew`] shows by how much; a second refusal in a row is an error.
//! - Versioned buckets: a removal leaves a marker, reads and listings see the newest version, and a create-only put
//!   after a removal succeeds.

mod client;
mod credentials;
mod errors;
mod patience;
mod socket;
mod wire;

use crate::object::{
    GetResult, ObjectMeta, ObjectStore, Page, Part, PutMode, PutOptions, PutResult, ServerDate, Upload,
};
use crate::url::S3Url;
use crate::{DeniedReason, Error, Kind, OpenConfig, Result, Trouble};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use credentials::Credentials;
use errors::Asked;
use futures::stream::{self, StreamExt};
use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

/// S3 takes parts from 5 MiB and 10,000 of them.
const MIN_PART: u64 = 8 << 20;
const PARTS: u64 = 10_000;

/// A bucket with a prefix.
pub struct S3Store {
    client: Client,
    credentials: Credentials,
    watch: Arc<wire::Watch>,
    bucket: String,
    prefix: String,
    /// Some answer has shown that the bucket exists.
    bucket_seen: AtomicBool,
    /// The last request was refused for its time; the SDK signs with the server's time since.
    skew_seen: AtomicBool,
}

impl S3Store {
    /// Prepares a client; nothing is sent. Fails for an unusable `ca` file; credentials are looked for at each request, because they may arrive later than the pod.
    pub async fn open(url: &S3Url, config: &OpenConfig) -> Result<Self> {
        let credentials = Credentials::new(config.credentials_dir.clone(), config.env);
        let (client, watch) = client::connect(url, config, &credentials)?;
        let prefix = if url.prefix.is_empty() { String::new() } else { format!("{}/", url.prefix) };
        let bucket = url.bucket.clone();
        Ok(Self {
            client,
            credentials,
            watch,
            bucket,
            prefix,
            bucket_seen: AtomicBool::new(false),
            skew_seen: AtomicBool::new(false),
        })
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Turns an SDK result into ours and learns from it.
    fn done<T, E>(
        &self,
        operation: &'static str,
        key: &str,
        result: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let error = match result {
            Ok(value) => {
                self.bucket_seen.store(true, Relaxed);
                self.skew_seen.store(false, Relaxed);
                return Ok(value);
            }
            Err(error) => errors::from_sdk(&Asked { operation, key, bucket: &self.bucket }, error),
        };
        match &error {
            Error::NotFound { .. } | Error::AlreadyExists { .. } => self.bucket_seen.store(true, Relaxed),
            Error::Denied { reason: DeniedReason::ClockSkew, .. } if !self.skew_seen.swap(true, Relaxed) => {
                return Err(Error::unavailable(operation, Trouble::ClockSkew, error));
            }
            Error::Denied { reason: DeniedReason::Access | DeniedReason::Credentials, .. }
                if self.credentials.changed() =>
            {
                return Err(Error::unavailable(operation, Trouble::Credentials, error));
            }
            _ => {}
        }
        Err(error)
    }

    fn strip(&self, key: &str) -> Result<String> {
        let rest = key.strip_prefix(&self.prefix);
        rest.map(str::to_owned).ok_or_else(|| Error::corrupt(key, "the listing left its prefix"))
    }
}

fn create_only(opts: &PutOptions) -> Option<String> {
    (opts.mode == PutMode::Create).then(|| "*".to_owned())
}

fn metadata(opts: &PutOptions) -> Option<HashMap<String, String>> {
    (!opts.metadata.is_empty()).then(|| opts.metadata.iter().cloned().collect())
}

fn unquote(etag: Option<String>) -> Option<String> {
    etag.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned())
}

fn millis(time: Option<DateTime>) -> i64 {
    time.and_then(|t| t.to_millis().ok()).unwrap_or(0)
}

fn size(length: Option<i64>) -> u64 {
    length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// First byte, byte after the last, and whole size of `bytes 0-9/100`.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    Some((start.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?, total.parse().ok()?))
}

#[async_trait]
impl ObjectStore for S3Store {
    fn kind(&self) -> Kind {
        Kind::S3
    }

    fn create_only(&self) -> Option<bool> {
        None
    }

    fn part_size(&self, bound: Option<u64>) -> usize {
        let needed = bound.unwrap_or(0).div_ceil(PARTS).next_multiple_of(1 << 20);
        usize::try_from(needed.max(MIN_PART)).unwrap_or(usize::MAX)
    }

    fn server_date(&self) -> Option<ServerDate> {
        *self.watch.date.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put(&self, key: &str, body: Bytes, opts: &PutOptions) -> Result<PutResult> {
        self.credentials.refresh()?;
        let request =
            self.client.put_object().bucket(&self.bucket).key(self.full(key)).body(ByteStream::from(body));
        let request = request
            .set_if_none_match(create_only(opts))
            .set_metadata(metadata(opts))
            .set_content_type(opts.content_type.clone());
        let out = self.done("put", key, request.send().await)?;
        Ok(PutResult { etag: unquote(out.e_tag), version: out.version_id })
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<GetResult> {
        self.credentials.refresh()?;
        let header = range.clone().map(|r| format!("bytes={}-{}", r.start, r.end.saturating_sub(1)));
        let request = self.client.get_object().bucket(&self.bucket).key(self.full(key)).set_range(header);
        let out = self.done("get", key, request.send().await)?;
        let length = size(out.content_length);
        let (covered, whole) = match out.content_range.as_deref().map(content_range) {
            Some(Some(parsed)) => parsed,
            Some(None) => return Err(Error::corrupt(key, "the store sent a strange Content-Range")),
            None => (0..length, length),
        };
        let expected = crate::object::clip(key, range, whole)?;
        if covered != expected || out.content_length.is_none() {
            return Err(Error::corrupt(key, "the store sent another range than asked"));
        }
        let meta = ObjectMeta {
            key: key.to_owned(),
            size: whole,
            modified_ms: millis(out.last_modified),
            etag: unquote(out.e_tag),
            metadata: out.metadata.unwrap_or_default().into_iter().collect(),
        };
        let what = format!("get s3://{}/{key}", self.bucket);
        let stream = stream::try_unfold((out.body, what), async |(mut body, what)| match body.next().await {
            Some(Ok(chunk)) => Ok(Some((chunk, (body, what)))),
            Some(Err(error)) => Err(broken_body(&what, &error)),
            None => Ok(None),
        });
        Ok(GetResult { meta, range: expected, stream: stream.boxed() })
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.credentials.refresh()?;
        let result = self.client.head_object().bucket(&self.bucket).key(self.full(key)).send().await;
        if let Err(SdkError::ServiceError(error)) = &result
            && error.raw().status().as_u16() == 404
        {
            if !self.bucket_seen.load(Relaxed) {
                // HEAD has no body, so no code: a GET tells a missing key from a missing bucket.
                self.get(key, Some(0..1)).await?;
            }
            return Err(Error::not_found(key));
        }
        let out = self.done("head", key, result)?;
        if out.content_length.is_none() {
            return Err(Error::corrupt(key, "the store sent no size"));
        }
        Ok(ObjectMeta {
            key: key.to_owned(),
            size: size(out.content_length),
            modified_ms: millis(out.last_modified),
            etag: unquote(out.e_tag),
            metadata: out.metadata.unwrap_or_default().into_iter().collect(),
        })
    }

    async fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Page> {
        let mut token = None;
        // Pages without keys are legal; a store that sends many of them is not making progress.
        for _ in 0..16 {
            self.credentials.refresh()?;
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.full(prefix));
            let request = request
                // Garage answers a start before the prefix with nothing at all; such a start skips nothing anyway.
                .set_start_after(start_after.filter(|key| *key >= prefix).map(|key| self.full(key)))
                .set_continuation_token(token)
                .max_keys(i32::try_from(limit).unwrap_or(1_000));
            let out = self.done("list", prefix, request.send().await)?;
            let mut objects = Vec::new();
            for object in out.contents.unwrap_or_default() {
                let key = self.strip(object.key.as_deref().unwrap_or_default())?;
                let etag = unquote(object.e_tag);
                let modified_ms = millis(object.last_modified);
                let metadata = BTreeMap::new();
                objects.push(ObjectMeta { key, size: size(object.size), modified_ms, etag, metadata });
            }
            // Consoles leave empty "directory" objects behind; they are no keys of ours.
            objects.retain(|object| !object.key.is_empty() && !object.key.ends_with('/'));
            let more = out.is_truncated.unwrap_or(false);
            token = out.next_continuation_token;
            if !more || !objects.is_empty() || token.is_none() {
                return Ok(Page { objects, more });
            }
        }
        Err(Error::corrupt(prefix, "the store sends one empty page after the other"))
    }

    async fn delete(&self, keys: &[String]) -> Result<Vec<Result<()>>> {
        self.credentials.refresh()?;
        if let [key] = keys {
            let result = self.client.delete_object().bucket(&self.bucket).key(self.full(key)).send().await;
            return match self.done("delete", key, result) {
                Ok(_) | Err(Error::NotFound { .. }) => Ok(vec![Ok(())]),
                Err(error) => Err(error),
            };
        }
        let mut list = Delete::builder().quiet(true);
        for key in keys {
            let object = ObjectIdentifier::builder().key(self.full(key)).build();
            list = list.objects(object.map_err(|e| Error::other("delete", e))?);
        }
        let list = list.build().map_err(|e| Error::other("delete", e))?;
        let first = keys.first().map_or("", String::as_str);
        let result = self.client.delete_objects().bucket(&self.bucket).delete(list).send().await;
        let out = self.done("delete", first, result)?;
        let mut failed: HashMap<String, Error> = HashMap::new();
        for error in out.errors.unwrap_or_default() {
            let key = self.strip(error.key.as_deref().unwrap_or_default())?;
            let asked = Asked { operation: "delete", key: &key, bucket: &self.bucket };
            let code = error.code.as_deref().unwrap_or_default();
            let status = if code == "AccessDenied" { 403 } else { 0 };
            let meaning = errors::answer(&asked, status, code, error.message.as_deref().unwrap_or_default());
            if !meaning.is_not_found() {
                failed.insert(key, meaning);
            }
        }
        Ok(keys.iter().map(|key| failed.remove(key).map_or(Ok(()), Err)).collect())
    }

    async fn start_upload(&self, key: &str, opts: &PutOptions) -> Result<Upload> {
        self.credentials.refresh()?;
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(self.full(key));
        let request = request.set_metadata(metadata(opts)).set_content_type(opts.content_type.clone());
        let out = self.done("start upload of", key, request.send().await)?;
        let id = out.upload_id.ok_or_else(|| Error::corrupt(key, "the store gave the upload no id"))?;
        Ok(Upload { key: key.to_owned(), id })
    }

    async fn put_part(&self, upload: &Upload, number: u32, body: Bytes) -> Result<Part> {
        self.credentials.refresh()?;
        let request = self.client.upload_part().bucket(&self.bucket).key(self.full(&upload.key));
        let request = request.upload_id(&upload.id).part_number(number as i32).body(ByteStream::from(body));
        let out = self.done("put part of", &upload.key, request.send().await)?;
        let etag =
            unquote(out.e_tag).ok_or_else(|| Error::corrupt(&upload.key, "the store gave a part no tag"))?;
        Ok(Part { number, etag })
    }

    async fn complete_upload(&self, upload: &Upload, parts: &[Part], opts: &PutOptions) -> Result<PutResult> {
        self.credentials.refresh()?;
        let part = |p: &Part| {
            CompletedPart::builder().part_number(p.number as i32).e_tag(format!("\"{}\"", p.etag)).build()
        };
        let parts = parts.iter().map(part).collect();
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request =
            self.client.complete_multipart_upload().bucket(&self.bucket).key(self.full(&upload.key));
        let request =
            request.upload_id(&upload.id).multipart_upload(list).set_if_none_match(create_only(opts));
        let out = self.done("complete upload of", &upload.key, request.send().await)?;
        Ok(PutResult { etag: unquote(out.e_tag), version: out.version_id })
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<()> {
        self.credentials.refresh()?;
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(self.full(&upload.key));
        match self.done("abort upload of", &upload.key, request.upload_id(&upload.id).send().await) {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn broken_body(what: &str, error: &(dyn StdError + 'static)) -> Error {
    let mut next = Some(error);
    let mut trouble = Trouble::Connect;
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut) {
            trouble = Trouble::Timeout;
        }
        next = cause.source();
    }
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Error::unavailable(what, trouble, format!("the body broke off: {cause}"))
}
