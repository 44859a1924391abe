//! Where a replica lives: `s3://bucket/prefix?endpoint=…`, `file:///directory`, `memory://name`.
//!
//! Strict: an unknown key is an error that names the nearest valid one, a value that cannot be read is an error, and
//! what is dangerous has to be said: plain http beyond loopback needs `allow-http=true`. Certificate checks cannot be
//! switched off, and credentials have no place in a URL.
//!
//! The S3 prefix is taken as it stands (percent-decoded, without slashes at its ends), as Litestream does:
//! `s3://b/p` holds `p/0000/…`. Keys: [`S3_KEYS`], [`FILE_KEYS`].

mod below;
mod nearest;
#[cfg(test)]
mod tests;

use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Query keys of `s3://`.
pub const S3_KEYS: [&str; 7] = ["endpoint", "allow-http", "region", "path-style", "ca", "profile", "forbid"];
/// Query keys of `file://`.
pub const FILE_KEYS: [&str; 1] = ["create"];

/// Which backend a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// S3 and what speaks its protocol.
    S3,
    /// A directory.
    File,
    /// This process only; for tests.
    Memory,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::S3 => "s3",
            Kind::File => "file",
            Kind::Memory => "memory",
        })
    }
}

/// Known servers with defaults of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Amazon S3: virtual-host addressing even with an endpoint.
    Aws,
    /// MinIO: path style.
    Minio,
    /// Cloudflare R2: region `auto`, path style.
    R2,
}

/// How to reach a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// Bucket name.
    pub bucket: String,
    /// Prefix of all keys, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Custom endpoint without a trailing slash.
    pub endpoint: Option<String>,
    /// Region as given.
    pub region: Option<String>,
    /// Address the bucket in the path instead of the host name.
    pub path_style: bool,
    /// PEM file with the only certificate authorities to trust.
    pub ca: Option<PathBuf>,
    /// Known server.
    pub profile: Option<Profile>,
    /// `forbid=minio`: refuse to talk to MinIO.
    pub forbid_minio: bool,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUrl {
    /// Absolute path.
    pub path: PathBuf,
    /// `create=true`: a missing directory is an empty replica and is created by the first put.
    pub create: bool,
}

/// A parsed replica URL; `Display` gives it back as it was written (it never holds secrets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl {
    text: String,
    target: Target,
}

/// The parts of a URL by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `s3://`
    S3(S3Url),
    /// `file://`
    File(FileUrl),
    /// `memory://name`
    Memory(String),
}

impl StoreUrl {
    /// Reads a URL; see the module documentation.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: String| Error::Refused(format!("replica url {}: {why}", without_query(text)));
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| refuse("no scheme; write s3://bucket/prefix or file:///directory".to_owned()))?;
        if rest.contains('#') {
            return Err(refuse("a '#' must be written as %23".to_owned()));
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        if location.split('/').next().is_some_and(|host| host.contains('@')) {
            return Err(Error::Refused(
                "replica url holds credentials; put them into the environment or a file".into(),
            ));
        }
        let decoded =
            percent_decode(location).ok_or_else(|| refuse("has a broken percent escape".to_owned()))?;
        let target = match scheme {
            "s3" => parse_s3(&decoded, query).map(Target::S3),
            "file" => parse_file(&decoded, query).map(Target::File),
            "memory" => parse_memory(&decoded, query).map(Target::Memory),
            other => Err(format!("scheme {other:?} is unknown; use s3, file or memory")),
        };
        Ok(Self { text: text.to_owned(), target: target.map_err(refuse)? })
    }

    /// Which backend this names.
    pub fn kind(&self) -> Kind {
        match self.target {
            Target::S3(_) => Kind::S3,
            Target::File(_) => Kind::File,
            Target::Memory(_) => Kind::Memory,
        }
    }

    /// The parts.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The directory of a `file://` URL.
    pub fn path(&self) -> Option<&Path> {
        match &self.target {
            Target::File(file) => Some(&file.path),
            _ => None,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for StoreUrl {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl serde::Serialize for StoreUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for StoreUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

fn parse_s3(location: &str, query: &str) -> Result<S3Url, String> {
    let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if bucket.len() < 3 || bucket.len() > 63 || !bucket.chars().all(named) {
        return Err(format!("bucket {bucket:?} is not a bucket name (3 to 63 letters, digits, '-', '.')"));
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|s| s == "." || s == "..") || prefix.contains("//") {
        return Err("the prefix has an empty, '.' or '..' segment".to_owned());
    }
    let mut url = S3Url {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: None,
        region: None,
        path_style: false,
        ca: None,
        profile: None,
        forbid_minio: false,
    };
    let (mut allow_http, mut path_style) = (false, None);
    for (key, value) in pairs(query, &S3_KEYS)? {
        match key.as_str() {
            "endpoint" => url.endpoint = Some(value.trim_end_matches('/').to_owned()),
            "allow-http" => allow_http = boolean(&key, &value)?,
            "region" => url.region = Some(value),
            "path-style" => path_style = Some(boolean(&key, &value)?),
            "ca" => url.ca = Some(PathBuf::from(value)),
            "profile" => url.profile = Some(profile(&value)?),
            _ if value == "minio" => url.forbid_minio = true,
            _ => return Err(format!("forbid={value} is unknown; only minio can be forbidden")),
        }
    }
    let mut host = String::new();
    if let Some(endpoint) = &url.endpoint {
        host = check_endpoint(endpoint, allow_http)?;
    }
    if host.ends_with(".r2.cloudflarestorage.com") && url.profile.is_none() {
        url.profile = Some(Profile::R2);
    }
    if url.forbid_minio && (url.profile == Some(Profile::Minio) || host.contains("minio")) {
        return Err("this is MinIO, which forbid=minio rules out".to_owned());
    }
    let default_style = url.endpoint.is_some() && url.profile != Some(Profile::Aws);
    url.path_style = path_style.unwrap_or(default_style);
    Ok(url)
}

/// The host name of an endpoint that may be talked to.
fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<String, String> {
    let parsed = url::Url::parse(endpoint).map_err(|e| format!("endpoint {endpoint:?}: {e}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("the endpoint holds credentials; put them into the environment or a file".to_owned());
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(format!("endpoint {endpoint:?} has a query; percent-encode it within the replica url"));
    }
    let loopback = match parsed.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err(format!("endpoint {endpoint:?} has no host")),
    };
    match parsed.scheme() {
        "https" => {}
        "http" if loopback || allow_http => {}
        "http" => {
            return Err("plain http sends data in the clear; use https or say allow-http=true".to_owned());
        }
        other => return Err(format!("endpoint scheme {other:?} is unknown; use https or http")),
    }
    Ok(parsed.host_str().unwrap_or_default().to_ascii_lowercase())
}

fn parse_file(location: &str, query: &str) -> Result<FileUrl, String> {
    if !location.starts_with('/') {
        return Err("a directory is written with three slashes: file:///mnt/backup".to_owned());
    }
    let path: PathBuf = Path::new(location).components().collect();
    if path.components().any(|c| matches!(c, std::path::Component::ParentDir)) || location.contains('\0') {
        return Err("the path has a '..' segment".to_owned());
    }
    let mut create = false;
    for (key, value) in pairs(query, &FILE_KEYS)? {
        create = boolean(&key, &value)?;
    }
    Ok(FileUrl { path, create })
}

fn parse_memory(location: &str, query: &str) -> Result<String, String> {
    if location.is_empty() {
        return Err("memory needs a name: memory://name".to_owned());
    }
    pairs(query, &[]).map(|_| location.to_owned())
}

fn profile(value: &str) -> Result<Profile, String> {
    match value {
        "aws" => Ok(Profile::Aws),
        "minio" => Ok(Profile::Minio),
        "r2" => Ok(Profile::R2),
        other => Err(nearest::unknown("profile", other, &["aws", "minio", "r2"])),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{key} must be true or false")),
    }
}

/// Query pairs: known keys, each once, with a value.
fn pairs(query: &str, known: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
        if !known.contains(&key.as_str()) {
            return Err(nearest::unknown("key", &key, known));
        }
        if value.is_empty() {
            return Err(format!("{key} has no value"));
        }
        if out.iter().any(|(k, _)| *k == key) {
            return Err(format!("{key} is given twice"));
        }
        out.push((key, value));
    }
    Ok(out)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

/// A refused URL may hold a mistyped secret in its query; messages show what stands before it.
fn without_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}
