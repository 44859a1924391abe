//! `$(CLUSTER)`, `$(POD_NAME)` and `$(POD_NAMESPACE)` in replica URLs.
//!
//! The form is Kubernetes' own for container arguments: `$$(X)` stands for the text `$(X)`. An unknown or unset variable
//! is an error, because an unexpanded one would become a strange prefix that nobody finds at restore time.

use crate::nearest::nearest;

/// The values that may be expanded.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `$(CLUSTER)`
    pub cluster: Option<String>,
    /// `$(POD_NAME)`
    pub pod_name: Option<String>,
    /// `$(POD_NAMESPACE)`
    pub pod_namespace: Option<String>,
}

const NAMES: [&str; 3] = ["CLUSTER", "POD_NAME", "POD_NAMESPACE"];

impl Variables {
    /// The text with every variable replaced.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                out.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("$(") {
                let Some((name, after)) = after.split_once(')') else {
                    return Err(format!("{text:?} has a $( without its )"));
                };
                out.push_str(self.value(name)?);
                rest = after;
            } else {
                out.push('$');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, name: &str) -> Result<&str, String> {
        let (value, hint) = match name {
            "CLUSTER" => (&self.cluster, "set cluster"),
            "POD_NAME" => (&self.pod_name, "set POD_NAME from the downward API"),
            "POD_NAMESPACE" => (&self.pod_namespace, "set POD_NAMESPACE from the downward API"),
            other => {
                let hint = nearest(other, NAMES)
                    .map(|name| format!(", did you mean $({name})?"))
                    .unwrap_or_default();
                return Err(format!("$({other}) is not a variable (one of {}{hint})", NAMES.join(", ")));
            }
        };
        match value.as_deref() {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(format!("$({name}) has no value ({hint})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_what_it_knows_and_refuses_the_rest() {
        let variables =
            Variables { cluster: Some("home".into()), pod_name: Some("app-0".into()), pod_namespace: None };
        assert_eq!(variables.expand("s3://b/$(CLUSTER)/$(POD_NAME)").unwrap(), "s3://b/home/app-0");
        assert_eq!(variables.expand("$$(CLUSTER) $5 $").unwrap(), "$(CLUSTER) $5 $");
        for (text, part) in [
            ("$(POD_NAMESPACE)", "no value (set POD_NAMESPACE"),
            ("$(POD_NAM)", "did you mean $(POD_NAME)?"),
            ("$(CLUSTER", "without its )"),
        ] {
            let reason = variables.expand(text).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }
}
