//! Giving back the exact file that etcd's own tools take, without the cluster.
//!
//! The file appears under its name only after everything was compared with the manifest: stored digest, SHA-256 of the body, structure,
//! revision, keys (P2). What to do with it differs by platform; [`steps`] says it.

use crate::catalogue::{Catalogue, Item};
use crate::manifest::Manifest;
use crate::opening::{described, open};
use crate::point::State;
use crate::proof::{Shape, TRAILER, check_digest, prove};
use crate::{Error, Result};
use seal::Identities;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
pub use store::{Progress, Store};

/// The snapshot for a time (Unix s), or the newest: the newest proven one at or before it.
pub fn choose(catalogue: &Catalogue, at: Option<i64>) -> Result<&Item> {
    if let Some(item) = catalogue.newest_verified(at) {
        return Ok(item);
    }
    let count = catalogue.items.len();
    let cluster = &catalogue.cluster;
    match (count, at) {
        (0, _) => Err(Error::Refused(format!("no snapshot of cluster {cluster} is here"))),
        (_, Some(_)) => Err(Error::Refused(format!("no proven snapshot of {cluster} is that old; see list"))),
        (_, None) => Err(Error::Damaged(format!(
            "{count} snapshots of {cluster} are here, and none is proven; see list"
        ))),
    }
}

/// All snapshots that may prove themselves while they are restored, newest first: complete, and never proven wrong. With a
/// credential that could not read, none was proven yet, and each of them may be whole.
pub fn promising(catalogue: &Catalogue, at: Option<i64>) -> Vec<&Item> {
    let complete = |item: &&Item| matches!(item.state(), State::Proven | State::Unproven);
    let until = |item: &&Item| at.is_none_or(|at| item.name.taken <= at);
    catalogue.items.iter().rev().filter(complete).filter(until).collect()
}

/// A newer snapshot that [`choose`] did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Its name.
    pub name: String,
    /// Why it was not taken.
    pub why: String,
    /// Proven wrong, or gone: somebody has to know before an older one is taken for it. Otherwise nobody has read it back yet.
    pub damaged: bool,
}

/// What is newer than `chosen`, up to the same time: newest first. Leftovers without a manifest are no backups.
pub fn passed_over(catalogue: &Catalogue, chosen: &Item, at: Option<i64>) -> Vec<PassedOver> {
    let newer = catalogue.items.iter().rev().take_while(|item| item.name != chosen.name);
    let why = |item: &Item| match item.state() {
        State::Failed => item
            .unreadable
            .clone()
            .or_else(|| item.mismatch())
            .or_else(|| item.later.as_ref().and_then(|later| later.failed.clone()))
            .map(|why| (why, true)),
        State::Missing => Some(("the snapshot is gone; only its manifest is left".to_owned(), true)),
        State::Unproven => Some(("nobody has read it back yet".to_owned(), false)),
        State::Proven | State::Partial => None,
    };
    newer
        .filter(|item| at.is_none_or(|at| item.name.taken <= at))
        .filter_map(|item| {
            why(item).map(|(why, damaged)| PassedOver { name: item.name.to_string(), why, damaged })
        })
        .collect()
}

/// Writes the snapshot of `item` to `output`, which must not exist unless `force`.
pub async fn restore(
    store: &Store,
    item: &Item,
    identities: Option<Arc<Identities>>,
    output: &Path,
    force: bool,
    progress: &Progress,
) -> Result<Manifest> {
    let manifest = described(item)?;
    if output.is_dir() {
        return Err(Error::Refused(format!("{} is a directory; name the file to write", output.display())));
    }
    if !force && std::fs::symlink_metadata(output).is_ok() {
        return Err(Error::Refused(format!("{} exists; replace it with --force", output.display())));
    }
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let writing = |error| Error::local(format!("write {}", output.display()))(error);
    let file = tempfile::Builder::new().prefix(".highwater-").tempfile_in(parent).map_err(writing)?;
    let expected = manifest.clone();
    let place = output.display().to_string();
    let took = place.clone();
    let (object, bound) = (manifest.object.clone(), manifest.body_bytes.saturating_add(TRAILER));
    let mut written = 0u64;
    let file = open(
        store,
        manifest,
        identities,
        progress,
        file,
        move |file, bytes| {
            // A small object may unfold to anything; the disk is not where that is found out (P7).
            written = written.saturating_add(bytes.len() as u64);
            if written > bound {
                return Err(Error::Damaged(format!(
                    "{object} holds more than the {bound} bytes that its manifest says"
                )));
            }
            file.write_all(bytes).map_err(Error::local(format!("write {took}")))
        },
        move |file| {
            check(file.as_file(), &expected)?;
            file.as_file().sync_all().map_err(Error::local(format!("sync {place}")))?;
            Ok(file)
        },
    )
    .await?;
    let named = if force { file.persist(output) } else { file.persist_noclobber(output) };
    named.map_err(|error| writing(error.error))?;
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(writing)?;
    Ok(manifest.clone())
}

fn check(file: &File, manifest: &Manifest) -> Result<()> {
    let shape = Shape::of(file)?;
    let digest = hex::encode(check_digest(file, &shape)?);
    let content = prove(file, &shape, &[])?;
    let found = (digest.as_str(), content.revision, content.keys, shape.trailer);
    let said = (manifest.body_sha256.as_str(), manifest.revision, manifest.keys, true);
    if found == said {
        return Ok(());
    }
    Err(Error::Damaged(format!(
        "{} holds revision {} and {} keys, its manifest says {} and {}",
        manifest.object, content.revision, content.keys, manifest.revision, manifest.keys
    )))
}

/// What to do with the file, by platform.
pub fn steps(manifest: &Manifest, output: &Path) -> String {
    let file = output.display();
    let k3s =
        manifest.resources.keys().any(|name| name.contains("k3s.cattle.io")) || manifest.token.is_some();
    let mut text = format!(
        "{file}: revision {}, {} keys, taken {}; etcd's tools print hash {} for it\n\n",
        manifest.revision, manifest.keys, manifest.taken_at, manifest.status_hash
    );
    if manifest.origin.kind == "talos" {
        text.push_str(&format!(
            "Talos:\n\
             1. the cluster's machine secrets are needed (talosctl gen secrets / secrets.yaml): a snapshot does not hold them\n\
             2. on every control plane node: talosctl reset --graceful=false --reboot --system-labels-to-wipe=EPHEMERAL\n\
             3. when etcd shows Preparing, on one node only: talosctl bootstrap --recover-from={file}\n\
             4. the others join by themselves\n"
        ));
    } else if k3s {
        let token = match &manifest.token {
            Some(key) => format!("open {key} with age -d | zstd -d"),
            None => "it was not shipped (--token-file); take it from another server's /var/lib/rancher/k3s/server/token".into(),
        };
        text.push_str(&format!(
            "K3s:\n\
             1. stop k3s on all servers\n\
             2. on one: k3s server --cluster-reset --cluster-reset-restore-path={file} --token=TOKEN\n\
             \x20  the token of that time is needed on a new host: {token}\n\
             3. start k3s there; on the other servers remove /var/lib/rancher/k3s/server/db and start k3s\n"
        ));
    } else {
        text.push_str(&format!(
            "kubeadm:\n\
             1. move /etc/kubernetes/manifests/kube-apiserver.yaml and etcd.yaml away on all control planes\n\
             2. on each, with its own name and peer URL and the same file:\n\
             \x20  etcdutl snapshot restore {file} --name NAME --initial-cluster NAME=https://IP:2380,... \\\n\
             \x20    --initial-advertise-peer-urls https://IP:2380 --initial-cluster-token NEW-TOKEN --data-dir /var/lib/etcd-new\n\
             3. replace /var/lib/etcd, put the manifests back, restart scheduler, controller-manager and kubelets\n\
             \x20  /etc/kubernetes/pki and the EncryptionConfiguration are not in the snapshot\n"
        ));
    }
    text.push_str(
        "\nA restore sets the revision back: controllers with old caches must be restarted, or, with etcdutl of 3.6, \
         bump it: --bump-revision 1000000000 --mark-compacted\n",
    );
    text
}
