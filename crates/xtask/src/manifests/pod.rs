//! The pod template inside a workload, and quantities.

use super::yaml::{at, list, text};
use serde_json::Value;

/// A workload's pod.
pub(super) struct Pod<'a> {
    pub(super) object: &'a Value,
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// `None` for objects that make no pods.
    pub(super) fn of(object: &'a Value) -> Option<Self> {
        let template = match text(object, "kind") {
            "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => at(object, "spec.template"),
            "CronJob" => at(object, "spec.jobTemplate.spec.template"),
            _ => return None,
        };
        Some(Self { object, metadata: &template["metadata"], spec: &template["spec"] })
    }

    pub(super) fn inits(&self) -> &'a [Value] {
        list(self.spec, "initContainers")
    }

    pub(super) fn containers(&self) -> &'a [Value] {
        list(self.spec, "containers")
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'a Value> {
        self.inits().iter().chain(self.containers())
    }

    pub(super) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let map = self.metadata["annotations"].as_object();
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&'a str> {
        self.annotations()
            .find(|(key, _)| key.strip_prefix("highwater.dev/") == Some(name))
            .map(|(_, value)| value)
    }
}

/// A Kubernetes quantity in its base unit; `None` if it is none.
pub(super) fn quantity(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    let text = value.as_str()?;
    let units = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("m", 0.001),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
    ];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1.0));
    Some(number.parse::<f64>().ok()? * factor)
}
