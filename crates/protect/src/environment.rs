//! `HIGHWATER_*` variables: the annotation keys in capitals, `HIGHWATER_REPLICA` and `HIGHWATER_ROOT`.
//!
//! An unknown `HIGHWATER_*` is an error like any unknown key. Except: Kubernetes puts `HIGHWATER_PORT_…` and
//! `HIGHWATER_SERVICE_…` into every pod of a namespace that has a Service named `highwater`; nobody wrote those.
//! An empty variable counts as unset, which is what `value: ""` and `${X:-}` mean.

use crate::flat;
use crate::nearest::nearest;
use crate::{Error, Layer, Located, Place};
use std::collections::BTreeMap;

const PREFIX: &str = "HIGHWATER_";
const SOURCE: &str = "environment";

/// Variables of ours that are not part of the description.
const OTHERS: [&str; 6] = ["CONFIG", "ANNOTATIONS", "LOG", "IDENTITY_FILE", "REVISION", "RUN_DIR"];

/// Reads the variables.
pub(crate) fn parse(environment: &BTreeMap<String, String>) -> Result<Layer, Error> {
    let mut values: BTreeMap<&str, Located<String>> = BTreeMap::new();
    let mut direct = Layer::default();
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        if value.is_empty() || OTHERS.contains(&name) || is_service_link(name) {
            continue;
        }
        let located = Located::new(value.clone(), Place::new(SOURCE, variable.as_str()));
        match name {
            "REPLICA" => direct.replica = Some(located),
            "ROOT" => direct.root = Some(located),
            _ => {
                let key = flat::KEYS.into_iter().find(|key| upper(key) == name);
                values.insert(key.ok_or_else(|| unknown(variable, name))?, located);
            }
        }
    }
    if let (Some(replica), Some(bucket)) = (&direct.replica, values.get("bucket")) {
        let reason = format!("contradicts {}; set one of them", replica.place.key);
        return Err(Error::Contradiction { place: bucket.place.clone(), reason });
    }
    let mut layer = flat::layer(&values)?;
    layer.lay(direct);
    Ok(layer)
}

fn upper(key: &str) -> String {
    key.to_ascii_uppercase().replace('-', "_")
}

fn is_service_link(name: &str) -> bool {
    name == "PORT" || name.starts_with("PORT_") || name.starts_with("SERVICE_")
}

fn unknown(variable: &str, name: &str) -> Error {
    let known: Vec<String> =
        flat::KEYS.map(upper).into_iter().chain(["REPLICA", "ROOT"].map(str::to_owned)).collect();
    let nearest =
        nearest(name, known.iter().map(String::as_str).chain(OTHERS)).map(|key| format!("{PREFIX}{key}"));
    Error::UnknownKey { place: Place::new(SOURCE, variable), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_of(set: &[(&str, &str)]) -> Result<Layer, Error> {
        parse(&set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn variables_are_the_annotation_keys_in_capitals() {
        let layer = parse_of(&[
            ("HIGHWATER_APP", "vault"),
            ("HIGHWATER_REPLICA", "file:///backup"),
            ("HIGHWATER_RESTORE_TIMEOUT", "30m"),
            ("HIGHWATER_PROFILE", ""),
            ("HIGHWATER_LOG", "debug"),
            ("HIGHWATER_PORT_9090_TCP", "tcp://10.0.0.1:9090"),
            ("HIGHWATER_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(layer.app.unwrap().value, "vault");
        assert_eq!(layer.replica.unwrap().value, "file:///backup");
        assert_eq!(layer.restore_timeout.unwrap().value.as_secs(), 1_800);
        assert!(layer.profile.is_none());
    }

    #[test]
    fn errors_name_the_variable() {
        for (set, message) in [
            (
                &[("HIGHWATER_CLUSTR", "x")][..],
                "environment: HIGHWATER_CLUSTR is not a known key (did you mean HIGHWATER_CLUSTER?)",
            ),
            (&[("HIGHWATER_KEEP", "all=x")][..], "environment: HIGHWATER_KEEP: \"x\" is not a duration"),
            (
                &[("HIGHWATER_BUCKET", "b"), ("HIGHWATER_REPLICA", "file:///b")][..],
                "environment: HIGHWATER_BUCKET: contradicts HIGHWATER_REPLICA; set one of them",
            ),
        ] {
            let error = parse_of(set).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
