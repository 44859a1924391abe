//! A talosconfig: which nodes, and a certificate that lives six hours. Read at every run, never kept.
//!
//! Facts: YAML with `context` and `contexts.<name>.{endpoints, nodes, ca, crt, key}`, the last three base64 of PEM. Talos labels Ed25519
//! keys `ED25519 PRIVATE KEY` around PKCS#8; the label is put right before the TLS library sees it.

use super::connect::Pem;
use crate::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Port of the machine API.
const PORT: u16 = 50_000;

#[derive(Deserialize)]
struct Document {
    context: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    nodes: Vec<String>,
    ca: Option<String>,
    crt: Option<String>,
    key: Option<String>,
}

/// What a run needs of it.
pub(crate) struct TalosConfig {
    pub(crate) endpoints: Vec<String>,
    pub(crate) nodes: Vec<String>,
    pub(crate) pem: Pem,
}

impl TalosConfig {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::Usage(format!(
                "cannot read {place}: {error} (the Secret of the Talos ServiceAccount is mounted at /var/run/secrets/talos.dev)"
            ))
        })?;
        Self::parse(&text, &place)
    }

    pub(crate) fn parse(text: &str, place: &str) -> Result<Self> {
        let wrong = |what: String| Error::Usage(format!("{place}: {what}"));
        // The parser's message may quote the line, which may be a key.
        let document: Document =
            serde_saphyr::from_str(text).map_err(|_| wrong("is not a talosconfig".into()))?;
        let name = match (&document.context, document.contexts.len()) {
            (Some(name), _) if !name.is_empty() => name.clone(),
            (_, 1) => document.contexts.keys().next().cloned().unwrap_or_default(),
            (_, count) => return Err(wrong(format!("names no context, and has {count}"))),
        };
        let context =
            document.contexts.get(&name).ok_or_else(|| wrong(format!("has no context {name:?}")))?;
        let part = |value: &Option<String>, what: &str| -> Result<Vec<u8>> {
            let value = value.as_deref().ok_or_else(|| wrong(format!("context {name:?} has no {what}")))?;
            let packed: String = value.chars().filter(|c| !c.is_whitespace()).collect();
            BASE64_STANDARD
                .decode(packed)
                .map_err(|_| wrong(format!("{what} of context {name:?} is not base64")))
        };
        let (ca, crt, key) =
            (part(&context.ca, "ca")?, part(&context.crt, "crt")?, part(&context.key, "key")?);
        let key = String::from_utf8(key).map_err(|_| wrong(format!("key of context {name:?} is not PEM")))?;
        let key = key.replace("ED25519 PRIVATE KEY", "PRIVATE KEY").into_bytes();
        if context.endpoints.is_empty() {
            return Err(wrong(format!("context {name:?} has no endpoints")));
        }
        let pem = Pem { ca, identity: Some((crt, key)) }.checked(place)?;
        Ok(Self {
            endpoints: context.endpoints.iter().map(|endpoint| address(endpoint)).collect(),
            nodes: context.nodes.clone(),
            pem,
        })
    }
}

/// `https://host:50000` from a host, an address, or either with a port.
fn address(endpoint: &str) -> String {
    let host = endpoint.trim().trim_start_matches("https://").trim_end_matches('/');
    let has_port = host.rsplit_once(':').is_some_and(|(front, port)| {
        port.parse::<u16>().is_ok() && (!front.contains(':') || front.ends_with(']'))
    });
    match (has_port, host.contains(':')) {
        (true, _) => format!("https://{host}"),
        (false, true) if !host.starts_with('[') => format!("https://[{host}]:{PORT}"),
        (false, _) => format!("https://{host}:{PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_get_scheme_and_port() {
        for (endpoint, url) in [
            ("10.0.0.1", "https://10.0.0.1:50000"),
            ("talos.default", "https://talos.default:50000"),
            ("127.0.0.1:6000", "https://127.0.0.1:6000"),
            ("fd00::1", "https://[fd00::1]:50000"),
            ("[fd00::1]:6000", "https://[fd00::1]:6000"),
        ] {
            assert_eq!(address(endpoint), url);
        }
    }

    #[test]
    fn mistakes_are_named_and_keys_never_shown() {
        let say = |text: &str| TalosConfig::parse(text, "talosconfig").err().expect("a refusal").to_string();
        assert!(say("- nonsense: AGE-KEY").contains("is not a talosconfig"));
        assert!(say("context: a\ncontexts: {}").contains("has no context \"a\""));
        assert!(say("contexts: {a: {}, b: {}}").contains("names no context, and has 2"));
        let half = "context: a\ncontexts:\n  a:\n    endpoints: [x]\n    ca: '%%%SECRET'\n";
        assert!(say(half).contains("ca of context \"a\" is not base64"));
        assert!(!say(half).contains("SECRET"));
    }
}
