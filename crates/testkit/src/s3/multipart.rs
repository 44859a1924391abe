//! Multipart uploads: `<root>/.uploads/<id>/` holds `key`, `meta` and one file per part.
//!
//! They survive a restart of the server, and an upload that nobody completes or aborts stays visible, so that tests
//! can prove that clients clean up after themselves.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Result, s3_error};

use super::backend::{Backend, Received, internal, new_meta, refused};
use super::disk::{decode, encode};

/// S3's lower limit for all parts but the last.
const MIN_PART: u64 = 5 << 20;

impl Backend {
    fn upload_dir(&self, bucket: &str, key: &str, id: &str) -> S3Result<PathBuf> {
        let dir = self.disk.uploads().join(id);
        let known = fs::read_to_string(dir.join("key")).unwrap_or_default();
        if id.contains(['/', '.']) || known != format!("{bucket}/{key}") {
            return Err(s3_error!(NoSuchUpload, "The specified multipart upload does not exist."));
        }
        Ok(dir)
    }

    pub(super) fn create_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        self.check(&input.bucket, &input.key)?;
        let id = self.disk.unique();
        let dir = self.disk.uploads().join(&id);
        let meta = new_meta(String::new(), input.content_type, input.content_encoding, input.metadata);
        let write = || {
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("meta"), encode(&meta))?;
            fs::write(dir.join("key"), format!("{}/{}", input.bucket, input.key))
        };
        write().map_err(internal)?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        })
    }

    pub(super) async fn upload_part(&self, input: UploadPartInput) -> S3Result<UploadPartOutput> {
        let dir = self.upload_dir(&input.bucket, &input.key, &input.upload_id)?;
        if !(1..=10_000).contains(&input.part_number) {
            return Err(s3_error!(InvalidArgument, "part numbers are 1 to 10000"));
        }
        let received = self.receive(input.body, input.content_md5.as_deref()).await?;
        let etag = hex::encode(received.md5);
        fs::write(etag_file(&dir, input.part_number), &etag).map_err(internal)?;
        fs::rename(&received.path, part_file(&dir, input.part_number)).map_err(internal)?;
        Ok(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() })
    }

    pub(super) fn complete_upload(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let dir = self.upload_dir(&input.bucket, &input.key, &input.upload_id)?;
        let condition = self.condition(&input.if_none_match, &input.if_match)?;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let (numbers, md5s) = self.chosen(&dir, &parts)?;
        let temp = self.assemble(&dir, &numbers).map_err(internal)?;
        let mut meta = fs::read_to_string(dir.join("meta"))
            .ok()
            .and_then(|text| decode(&text))
            .ok_or_else(|| s3_error!(InternalError, "the upload lost its metadata"))?;
        meta.etag = format!("{}-{}", hex::encode(Md5::digest(&md5s)), numbers.len());
        let key = (input.bucket.as_str(), input.key.as_str());
        self.disk.commit(key, &temp.path, &mut meta, &condition).map_err(refused)?;
        fs::remove_dir_all(&dir).map_err(internal)?;
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(meta.etag)),
            ..Default::default()
        })
    }

    /// The numbers of the parts the client names, all checks done, and their MD5s in a row.
    fn chosen(&self, dir: &Path, parts: &[CompletedPart]) -> S3Result<(Vec<i32>, Vec<u8>)> {
        if parts.is_empty() {
            return Err(s3_error!(MalformedXML, "an upload has at least one part"));
        }
        let (mut numbers, mut md5s) = (Vec::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            let number = part.part_number.unwrap_or(0);
            if numbers.last().is_some_and(|last| *last >= number) {
                return Err(s3_error!(InvalidPartOrder, "the list of parts was not in ascending order"));
            }
            let etag = fs::read_to_string(etag_file(dir, number)).unwrap_or_default();
            let size = fs::metadata(part_file(dir, number)).map(|stat| stat.len());
            let (Ok(size), Some(true)) = (size, part.e_tag.as_ref().map(|tag| tag.value() == etag)) else {
                return Err(s3_error!(InvalidPart, "a part could not be found, or its ETag differs"));
            };
            if size < MIN_PART && index + 1 < parts.len() && !self.faults.allows_small_parts() {
                return Err(s3_error!(EntityTooSmall, "a part is smaller than the minimum allowed size"));
            }
            numbers.push(number);
            md5s.extend(hex::decode(&etag).unwrap_or_default());
        }
        Ok((numbers, md5s))
    }

    /// The parts in one temp file; the parts stay, because the condition may still fail.
    fn assemble(&self, dir: &Path, numbers: &[i32]) -> io::Result<Received> {
        let (file, path) = self.disk.temp()?;
        drop(file);
        let temp = Received { path, md5: [0; 16] };
        let mut whole = OpenOptions::new().write(true).open(&temp.path)?;
        for number in numbers {
            io::copy(&mut fs::File::open(part_file(dir, *number))?, &mut whole)?;
        }
        Ok(temp)
    }

    pub(super) fn abort_upload(
        &self,
        input: AbortMultipartUploadInput,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let dir = self.upload_dir(&input.bucket, &input.key, &input.upload_id)?;
        fs::remove_dir_all(dir).map_err(internal)?;
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(super) fn list_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        self.bucket(&input.bucket)?;
        let prefix = format!("{}/{}", input.bucket, input.prefix.as_deref().unwrap_or(""));
        let mut uploads = Vec::new();
        for entry in fs::read_dir(self.disk.uploads()).map_err(internal)?.flatten() {
            let known = fs::read_to_string(entry.path().join("key")).unwrap_or_default();
            let initiated = entry.metadata().and_then(|stat| stat.modified()).ok().map(Timestamp::from);
            if !known.starts_with(&prefix) {
                continue;
            }
            uploads.push(MultipartUpload {
                initiated,
                key: known.split_once('/').map(|(_, key)| key.to_owned()),
                upload_id: entry.file_name().into_string().ok(),
                ..Default::default()
            });
        }
        uploads.sort_by(|a, b| (&a.key, &a.upload_id).cmp(&(&b.key, &b.upload_id)));
        Ok(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(false),
            uploads: Some(uploads),
            ..Default::default()
        })
    }

    pub(super) fn list_parts(&self, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let dir = self.upload_dir(&input.bucket, &input.key, &input.upload_id)?;
        let part = |number: i32| {
            let stat = fs::metadata(part_file(&dir, number)).ok()?;
            Some(Part {
                part_number: Some(number),
                size: Some(stat.len() as i64),
                e_tag: fs::read_to_string(etag_file(&dir, number)).ok().map(ETag::Strong),
                last_modified: stat.modified().ok().map(Timestamp::from),
                ..Default::default()
            })
        };
        Ok(ListPartsOutput {
            parts: Some((1..=10_000).filter_map(part).collect()),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(false),
            ..Default::default()
        })
    }
}

fn part_file(dir: &Path, number: i32) -> PathBuf {
    dir.join(format!("part-{number}"))
}

fn etag_file(dir: &Path, number: i32) -> PathBuf {
    dir.join(format!("etag-{number}"))
}
