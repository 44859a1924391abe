//! The `s3s` trait on top of [`Backend`]: which operations exist, and how their answers are spelt.

use std::fs;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, PAGE, internal, new_meta, refused, url_encode};
use super::disk::Condition;
use super::listing::{Entry, Query};

type Answer<T> = S3Result<S3Response<T>>;

fn answer<T>(output: S3Result<T>) -> Answer<T> {
    output.map(S3Response::new)
}

fn max_of(max_keys: Option<i32>) -> usize {
    max_keys.map_or(PAGE, |max| usize::try_from(max).unwrap_or(0))
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        answer(self.put(req.input).await)
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        answer(self.get(req.input))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        answer(self.head(req.input))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.check(&req.input.bucket, &req.input.key)?;
        self.disk.remove(&req.input.bucket, &req.input.key).map_err(internal)?;
        answer(Ok(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        let input = req.input;
        self.bucket(&input.bucket)?;
        if input.delete.objects.len() > PAGE {
            return Err(s3_error!(MalformedXML, "at most 1000 keys at a time"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match self.disk.remove(&input.bucket, &object.key) {
                Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
                Err(error) => errors.push(Error {
                    code: Some("InternalError".to_owned()),
                    key: Some(object.key),
                    message: Some(error.to_string()),
                    ..Default::default()
                }),
            }
        }
        let deleted = (input.delete.quiet != Some(true)).then_some(deleted);
        answer(Ok(DeleteObjectsOutput { deleted, errors: Some(errors), ..Default::default() }))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        let input = req.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "only plain copy sources"));
        };
        self.check(&input.bucket, &input.key)?;
        let source = self.check(bucket, key)?;
        let mut meta = self.disk.meta(bucket, key).map_err(|_| s3_error!(NoSuchKey))?;
        if input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE") {
            meta = new_meta(meta.etag, input.content_type, input.content_encoding, input.metadata);
        }
        let (_, temp) = self.disk.temp().map_err(internal)?;
        fs::copy(source, &temp).map_err(internal)?;
        let target = (input.bucket.as_str(), input.key.as_str());
        self.disk.commit(target, &temp, &mut meta, &Condition::Always).map_err(refused)?;
        let result = CopyObjectResult {
            e_tag: Some(ETag::Strong(meta.etag)),
            last_modified: Some(meta.modified.into()),
            ..Default::default()
        };
        answer(Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        let input = req.input;
        let encode = input.encoding_type.is_some();
        let mut query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            after: input.start_after.clone().unwrap_or_default(),
            max: max_of(input.max_keys),
            ..Default::default()
        };
        if let Some(token) = &input.continuation_token {
            query
                .resume(token)
                .ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not ours"))?;
        }
        let max = query.max.min(PAGE);
        let (contents, prefixes, next) =
            self.list(&input.bucket, query, input.delimiter.as_deref(), encode)?;
        answer(Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            start_after: input.start_after,
            continuation_token: input.continuation_token,
            max_keys: Some(max as i32),
            key_count: Some((contents.len() + prefixes.len()) as i32),
            is_truncated: Some(next.is_some()),
            next_continuation_token: next.map(|entry| entry.token()),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
        let input = req.input;
        let encode = input.encoding_type.is_some();
        let marker = input.marker.clone().unwrap_or_default();
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            after_prefix: marker.ends_with('/').then(|| marker.clone()),
            after: marker,
            max: max_of(input.max_keys),
            ..Default::default()
        };
        let max = query.max.min(PAGE);
        let (contents, prefixes, next) =
            self.list(&input.bucket, query, input.delimiter.as_deref(), encode)?;
        let next_marker = next.map(|entry| match entry {
            Entry::Key(name) | Entry::Prefix(name) if encode => url_encode(&name),
            Entry::Key(name) | Entry::Prefix(name) => name,
        });
        answer(Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            marker: input.marker,
            max_keys: Some(max as i32),
            is_truncated: Some(next_marker.is_some()),
            next_marker,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        self.bucket(&req.input.bucket)?;
        answer(Ok(HeadBucketOutput::default()))
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        match self.bucket(&req.input.bucket) {
            Ok(_) => Err(s3_error!(BucketAlreadyOwnedByYou)),
            Err(_) => Err(s3_error!(AccessDenied, "this server has one bucket")),
        }
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> Answer<GetBucketLocationOutput> {
        self.bucket(&req.input.bucket)?;
        answer(Ok(GetBucketLocationOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        answer(self.create_upload(req.input))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        answer(Backend::upload_part(self, req.input).await)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        answer(self.complete_upload(req.input))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        answer(self.abort_upload(req.input))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        answer(self.list_uploads(req.input))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        answer(Backend::list_parts(self, req.input))
    }
}
