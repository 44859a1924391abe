//! What Kubernetes keeps in etcd, as far as a backup must know: whose cluster it is, and how many of each resource.

use super::wire::Fields;

/// Every name that Kubernetes stores begins with this.
const REGISTRY: &[u8] = b"/registry/";
/// The namespace whose UID identifies a cluster.
pub(crate) const KUBE_SYSTEM: &[u8] = b"/registry/namespaces/kube-system";
/// K3s keeps its CA keys here, sealed with the server token.
pub(crate) const BOOTSTRAP: &[u8] = b"/bootstrap/";

/// `secrets`, or `cilium.io/ciliumnodes` for a group's resource; `None` for keys that are not Kubernetes'.
pub(crate) fn resource(key: &[u8]) -> Option<&str> {
    let rest = std::str::from_utf8(key.strip_prefix(REGISTRY)?).ok()?;
    let mut parts = rest.splitn(3, '/');
    let (first, second) = (parts.next()?, parts.next()?);
    let name = match parts.next() {
        Some(_) if first.contains('.') => &rest[..first.len() + 1 + second.len()],
        _ => first,
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    (!name.is_empty() && name.len() <= 200 && name.chars().all(named)).then_some(name)
}

/// The UID inside a stored namespace: protobuf behind `k8s\0`, or JSON.
pub(crate) fn uid(stored: &[u8]) -> Option<String> {
    let uid = match stored.strip_prefix(b"k8s\0") {
        Some(unknown) => {
            let namespace = Fields::bytes(unknown, 2)?;
            let metadata = Fields::bytes(namespace, 1)?;
            String::from_utf8(Fields::bytes(metadata, 5)?.to_vec()).ok()?
        }
        None => {
            let json: serde_json::Value = serde_json::from_slice(stored).ok()?;
            json.pointer("/metadata/uid")?.as_str()?.to_owned()
        }
    };
    let sound = (8..=64).contains(&uid.len()) && uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    sound.then_some(uid)
}
