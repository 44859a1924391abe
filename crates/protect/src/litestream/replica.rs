//! The URL of a replica, from the many ways in which Litestream lets one write it.

use super::node::Node;
use super::{Fate, Reader};
use crate::Error;
use std::path::Path;
use url::form_urlencoded::{Serializer, parse};

/// Hosts that carry bucket, region or endpoint in one name; to be written apart here.
const SPEAKING_HOSTS: [&str; 9] = [
    ".amazonaws.com",
    ".backblazeb2.com",
    ".filebase.com",
    ".digitaloceanspaces.com",
    ".scw.cloud",
    ".linodeobjects.com",
    ".r2.cloudflarestorage.com",
    ".your-objectstorage.com",
    "localhost",
];

/// The URL as ours; `None` if it cannot be had, which is noted. `path` is the key of the replica, `defaults` the file.
pub(super) fn url(
    reader: &mut Reader,
    path: &str,
    replica: &Node,
    defaults: &Node,
    base: &Path,
) -> Result<Option<String>, Error> {
    let own = |name: &str| replica.get(name).map(|node| (format!("{path}.{name}"), node));
    let set = |name: &str| own(name).or_else(|| defaults.get(name).map(|node| (name.to_owned(), node)));
    let text = |reader: &Reader, found: Option<(String, &Node)>| -> Result<Option<String>, Error> {
        let Some((key, node)) = found else { return Ok(None) };
        Ok(Some(reader.text(&key, node)?.to_owned()).filter(|text| !text.is_empty()))
    };
    let written = text(reader, own("url"))?;
    let kind = match (text(reader, own("type"))?, &written) {
        (Some(kind), _) => kind,
        (None, Some(url)) => url.split_once("://").map_or("file", |(scheme, _)| scheme).to_owned(),
        (None, None) => "file".to_owned(),
    };
    let refuse = |reader: &mut Reader, why: String| {
        let key = [format!("{path}.url"), format!("{path}.type"), format!("{path}.path"), path.to_owned()];
        let noted = key.iter().find(|key| reader.notes.iter().any(|note| note.key == **key)).cloned();
        reader.renote(&noted.unwrap_or_default(), Fate::Refused, why);
        Ok(None)
    };
    match kind.as_str() {
        "s3" => {}
        "file" => {
            let dir = match written {
                Some(url) => url.strip_prefix("file://").unwrap_or(&url).to_owned(),
                None => text(reader, own("path"))?
                    .ok_or_else(|| reader.wrong(replica.line, path, "names neither url nor path"))?,
            };
            let dir = base.join(dir);
            return Ok(Some(format!("file://{}", dir.display())));
        }
        other => {
            let why = format!(
                "{other} is not supported; s3 and directories are. Copy the replica there, or start a new one"
            );
            return refuse(reader, why);
        }
    }
    let (mut bucket, mut prefix, mut query) =
        (text(reader, set("bucket"))?, text(reader, own("path"))?, String::new());
    if let Some(url) = &written {
        let rest = url.strip_prefix("s3://").unwrap_or(url);
        let (location, asked) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, key) = location.split_once('/').unwrap_or((location, ""));
        if host.contains(':') || SPEAKING_HOSTS.iter().any(|suffix| host.ends_with(suffix)) {
            let why = format!("{host}: write bucket, endpoint and region apart, as keys of their own");
            return refuse(reader, why);
        }
        (bucket, prefix, query) = (Some(host.to_owned()), Some(key.to_owned()), asked.to_owned());
    }
    let Some(bucket) = bucket else { return Err(reader.wrong(replica.line, path, "names no bucket")) };
    let mut endpoint = text(reader, set("endpoint"))?;
    let mut region = text(reader, set("region"))?;
    let mut path_style = match set("force-path-style") {
        Some((key, node)) => Some(reader.bool(&key, node)?),
        None => None,
    };
    for (name, value) in parse(query.as_bytes()).into_owned() {
        match name.as_str() {
            "endpoint" => endpoint = Some(value),
            "region" => region = Some(value),
            "forcePathStyle" | "force-path-style" => path_style = Some(value == "true"),
            "skipVerify" | "skip-verify" if value == "true" => {
                return refuse(
                    reader,
                    "certificate checks cannot be switched off; name the authority with ca=FILE".into(),
                );
            }
            // What tunes requests there has no counterpart here, as the keys of the same names.
            _ => {}
        }
    }
    let mut asked = Serializer::new(String::new());
    if let Some(endpoint) = endpoint {
        let endpoint = if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") };
        asked.append_pair("endpoint", &endpoint);
        if endpoint.starts_with("http://") {
            asked.append_pair("allow-http", "true");
        }
    }
    if let Some(region) = region {
        asked.append_pair("region", &region);
    }
    if let Some(path_style) = path_style {
        asked.append_pair("path-style", if path_style { "true" } else { "false" });
    }
    let (prefix, asked) = (prefix.unwrap_or_default(), asked.finish());
    let slash = if prefix.is_empty() { "" } else { "/" };
    let mark = if asked.is_empty() { "" } else { "?" };
    // `/` and `:` may stand in a query, and people read it.
    let asked = asked.replace("%3A", ":").replace("%2F", "/");
    Ok(Some(format!("s3://{bucket}{slash}{}{mark}{asked}", prefix.trim_matches('/'))))
}
