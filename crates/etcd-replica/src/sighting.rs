//! Recognising snapshots of etcd by a key, wherever the URL points: at them, above them, or into one cluster's folder.
//!
//! Verbs that work on every kind of replica ask here what lies at a URL, so that a URL one folder off is answered with the right one.
//! Only whole names count; a manifest or a `.db.zst` of somebody else is nothing of ours.

use crate::layout::{Name, POLICY, RESULT, check_cluster};

/// Where the snapshots are, seen from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// Right there: `<cluster>/daily/…` of this cluster.
    Here(String),
    /// Below this folder.
    Below(String),
    /// The URL names the folder of this cluster; it should name the one above.
    Inside(String),
}

/// What one key says; `None` for a key that is nothing of ours.
pub fn sighting(key: &str) -> Option<Sighting> {
    if let Some((name, _)) = Name::parse(key) {
        return Some(Sighting::Here(name.cluster));
    }
    // A cluster whose runs failed so far.
    if let Some((cluster, object)) = key.split_once('/')
        && [POLICY, RESULT].contains(&object)
        && check_cluster(cluster).is_ok()
    {
        return Some(Sighting::Here(cluster.to_owned()));
    }
    let slots = ["daily/", "recent/"];
    if slots.iter().any(|slot| key.starts_with(slot)) {
        let cluster = cluster_of(key)?;
        return Name::parse(&format!("{cluster}/{key}")).map(|_| Sighting::Inside(cluster.to_owned()));
    }
    let slot = slots.iter().filter_map(|slot| key.find(&format!("/{slot}"))).min()?;
    let folder = key[..slot].rfind('/')?;
    Name::parse(&key[folder + 1..]).map(|_| Sighting::Below(key[..folder].to_owned()))
}

/// The cluster that a file name holds: `etcd-<cluster>-<time>-r<revision>-<digest>.…`, where a cluster may have dashes of its own.
fn cluster_of(key: &str) -> Option<&str> {
    let file = key.rsplit('/').next()?;
    let rest = file.strip_prefix("etcd-")?;
    rest.rsplitn(4, '-').nth(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_the_snapshots_are() {
        let inner = "daily/2026/11/21/etcd-prod-1-20261121T141500Z-r000000421337-0a1b2c3d.manifest.json";
        let here = format!("prod-1/{inner}");
        let cases = [
            (here.clone(), Some(Sighting::Here("prod-1".into()))),
            ("prod-1/_result.json".into(), Some(Sighting::Here("prod-1".into()))),
            (format!("backups/etcd/{here}"), Some(Sighting::Below("backups/etcd".into()))),
            (inner.to_owned(), Some(Sighting::Inside("prod-1".into()))),
            (format!("other/{inner}"), None),
            ("app/daily/2026/11/21/dump.db.zst".into(), None),
            ("daily/etcd-x".into(), None),
            ("0000/0000000000000001-0000000000000001.ltx".into(), None),
            ("repo.json".into(), None),
        ];
        for (key, seen) in cases {
            assert_eq!(sighting(&key), seen, "{key}");
        }
    }
}
