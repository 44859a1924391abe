//! The start of a writer: lock, marker, what an earlier run left, the guard of lineage, and only then the claim.

use super::{Settings, Writer};
use crate::catalogue::{Catalogue, read_manifest};
use crate::claim::claim;
use crate::home::{Home, Marker};
use crate::layout::Seq;
use crate::manifest::{CommitKind, Head};
use crate::repo::Repo;
use crate::scan::{Look, Scanner};
use crate::start::{Beginning, begin};
use crate::state::{Print, SLACK_LOCAL_MS, SLACK_NETWORK_MS, State, fits};
use crate::steps::Steps;
use crate::{Error, Inherited, Result};
use clock::{Clock, IdGen};
use seal::Identities;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use store::Store;

/// File systems whose files are stamped by this kernel.
const LOCAL: [u64; 7] =
    [0xEF53, 0x5846_5342, 0x0102_1994, 0x9123_683E, 0x794C_7630, 0x2FC1_2FC1, 0xF2F5_2010];

impl Writer {
    /// Takes the tree and the replica. With `inherited`, the claim was made by `restore init` of this pod and none is made here.
    pub async fn begin(
        settings: Settings,
        store: Store,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdGen>,
        inherited: Option<Inherited>,
        identities: Option<&Identities>,
        steps: Steps,
    ) -> Result<Writer> {
        let root = &settings.root;
        let device = Scanner::device(root)?;
        let home = Home::of(root);
        let lock = home.lock()?;
        if crate::restore::is_unfinished(&home)? {
            return Err(Error::refused(
                format!("a restore into {} is not finished", root.display()),
                "run it again: restore files … (it resumes)",
            ));
        }
        let repo = Repo::load(&store).await?;
        if let Some(repo) = &repo {
            repo.check(&settings.identity)?;
        }
        let catalogue = if repo.is_some() { Catalogue::load(&store).await? } else { Catalogue::default() };
        let newest = catalogue.newest_snapshot(&store).await?;
        let mut marker = home.marker()?;
        let mut state = State::load(&home)?;
        if let Some(next) = State::load_next(&home)? {
            // A commit was under way: if it is there it was ours.
            let arrived = newest.as_ref().is_some_and(|head| head.write_id == next.manifest.write_id);
            if arrived {
                let own = Marker::new(&next.manifest.lineage, next.manifest.number, next.manifest.epoch);
                State::promote(&home)?;
                home.set_marker(&own)?;
                (marker, state) = (Some(own), Some(next));
            } else {
                State::discard_next(&home)?;
            }
        }
        // The state may be one commit ahead of a marker that was not moved any more.
        if let (Some(state), Some(old), Some(head)) = (&state, &mut marker, &newest)
            && state.manifest.write_id == head.write_id
            && old.lineage == head.lineage
            && old.snapshot < head.number
        {
            *old = Marker::new(&head.lineage, head.number, head.epoch);
            home.set_marker(old)?;
        }
        let number = newest.as_ref().map(|head| head.number);
        let how = begin(marker.as_ref(), repo.as_ref().map(|r| r.lineage.as_str()), number, settings.adopt)?;
        // Everything that may fail for a while comes before the claim: a start that is tried again must not claim twice and
        // fence whoever came in between.
        let base = match (how, &newest, &repo) {
            (Beginning::Continue, Some(head), Some(repo)) => {
                let known =
                    |s: &State| fits(s, &repo.lineage).is_ok() && head.write_id == s.manifest.write_id;
                match state.filter(known) {
                    Some(state) => Some(state),
                    None => reread(&store, head, identities).await?,
                }
            }
            (Beginning::Adopt, Some(head), _) => reread(&store, head, identities).await?,
            _ => None,
        };
        steps.at("claim")?;
        let (lineage, epoch, last_number, newest) = match inherited {
            Some(inherited) => inherit(&store, repo, &catalogue, inherited, newest).await?,
            None => {
                let claim = claim(&store, &settings.identity, &*clock, &*ids).await?;
                if claim.snapshot.as_ref().map(|head| &head.write_id)
                    != newest.as_ref().map(|head| &head.write_id)
                {
                    return Err(Error::Fenced {
                        what: "another writer committed a snapshot while this one began".into(),
                        hint: "check that only one pod writes to this replica".into(),
                    });
                }
                (claim.lineage, claim.number, claim.number, claim.snapshot)
            }
        };
        let heads = base.as_ref().map_or_else(BTreeMap::new, |s| s.heads.clone());
        let heads = newest.iter().map(|h| (h.number, h.clone())).chain(heads).collect();
        let marker = Marker::new(&lineage, number_of(&newest), epoch);
        home.set_marker(&marker)?;
        let slack_ms = if is_local(root) { SLACK_LOCAL_MS } else { SLACK_NETWORK_MS };
        Ok(Writer {
            scanner: Some(Scanner::new(root)),
            told: Arc::default(),
            settings: Arc::new(settings),
            store,
            clock,
            ids,
            home,
            _lock: lock,
            lineage,
            epoch,
            last_number,
            before: newest.filter(|_| base.is_none() && how != Beginning::Rebuild),
            state: base.map(Arc::new),
            heads,
            device,
            slack_ms,
            marker,
            pending: None,
            fenced: false,
            steps,
        })
    }
}

fn number_of(head: &Option<Head>) -> Seq {
    head.as_ref().map_or(0, |head| head.number)
}

type Begun = (String, Seq, Seq, Option<Head>);

/// A sidecar never claims: whoever has written since the pod's claim under another one owns the replica now.
async fn inherit(
    store: &Store,
    repo: Option<Repo>,
    catalogue: &Catalogue,
    inherited: Inherited,
    newest: Option<Head>,
) -> Result<Begun> {
    let Some(repo) = repo else {
        return Err(Error::damaged("the replica that restore init claimed is not there"));
    };
    let last = catalogue.newest();
    if last > inherited.epoch {
        let head = crate::catalogue::read_head(store, last).await?;
        if head.epoch != inherited.epoch || head.kind == CommitKind::Claim {
            return Err(Error::Fenced {
                what: format!(
                    "number {last} was written under claim {} and this pod has claim {}",
                    head.epoch, inherited.epoch
                ),
                hint: "another pod owns the replica; restart this pod if it should own it".into(),
            });
        }
    }
    Ok((repo.lineage, inherited.epoch, last.max(inherited.epoch), newest))
}

/// The tree of the newest snapshot from the store, every content to be compared again; `None` if it is sealed for others.
async fn reread(store: &Store, head: &Head, identities: Option<&Identities>) -> Result<Option<State>> {
    if head.sealed && identities.is_none() {
        tracing::warn!(
            snapshot = head.number,
            "the state of this volume is lost and the replica is sealed: everything is uploaded once more"
        );
        return Ok(None);
    }
    let (head, manifest) = read_manifest(store, head.number, identities).await?;
    let unknown = Print { ino: 0, ctime: crate::Time::default(), suspect: true };
    let prints = vec![unknown; manifest.entries.len()];
    let heads = BTreeMap::from([(head.number, head)]);
    Ok(Some(State { last_number: manifest.number, manifest, prints, heads }))
}

/// Whether files are stamped by this kernel; unknown file systems count as remote.
pub(crate) fn is_local(root: &Path) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    rustix::fs::statfs(root).is_ok_and(|s| LOCAL.contains(&(s.f_type as u64)))
}

impl Print {
    /// For a tree that was just restored: what lies there is what the manifest says.
    pub(crate) fn fresh(look: &Look) -> Print {
        Print { ino: look.ino, ctime: look.ctime, suspect: true }
    }
}
