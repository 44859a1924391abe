//! The claim: whoever starts to write takes the next number, and whoever wrote before collides exactly there (P4).
//!
//! A claim is a commit without a tree; its number is the epoch. Retention never deletes one: a paused predecessor wants just
//! that number next (trap 3). There is nothing to renew, so an idle writer sends nothing. The claim happens before a restore
//! (trap 4): the snapshot it names as parent is the one to restore, nothing can come between.

use crate::catalogue::Catalogue;
use crate::layout::{Seq, commit_key};
use crate::manifest::Head;
use crate::repo::{Identity, Repo};
use crate::{Error, Result};
use clock::{Clock, IdGen};
use store::{PutOptions, Store, WRITE_ID};

/// The right to write the numbers after [`Claim::number`].
#[derive(Debug, Clone)]
pub struct Claim {
    /// Id of the history.
    pub lineage: String,
    /// The number that was taken, and the epoch.
    pub number: Seq,
    /// The newest snapshot at that moment; `None` if there was none.
    pub snapshot: Option<Head>,
}

/// Ids as the format has them.
pub(crate) fn new_id(ids: &dyn IdGen) -> String {
    format!("{:016x}", ids.next_u64())
}

/// Takes the next number of the replica, and creates the replica if it provably does not exist.
pub async fn claim(store: &Store, identity: &Identity, clock: &dyn Clock, ids: &dyn IdGen) -> Result<Claim> {
    let repo = match Repo::load(store).await? {
        Some(repo) => {
            repo.check(identity)?;
            repo
        }
        None => {
            let lost = Catalogue::load(store).await?;
            if !lost.numbers.is_empty() {
                return Err(Error::damaged(format!(
                    "{} commits are there and {} is missing",
                    lost.numbers.len(),
                    crate::layout::REPO_KEY
                )));
            }
            let repo = Repo::new(ids.next_u64(), identity.clone(), clock::format_unix_ms(clock.unix_ms()));
            repo.create(store).await?;
            repo
        }
    };
    let catalogue = Catalogue::load(store).await?;
    let snapshot = catalogue.newest_snapshot(store).await?;
    if let Some(head) = snapshot.as_ref().filter(|head| head.lineage != repo.lineage) {
        return Err(Error::damaged(format!("snapshot {} belongs to another history", head.number)));
    }
    let number = catalogue.newest() + 1;
    let write_id = new_id(ids);
    let parent = snapshot.as_ref().map_or(0, |head| head.number);
    let time = clock::format_unix_ms(clock.unix_ms().max(snapshot.as_ref().map_or(0, Head::unix_ms)));
    let head = Head::claim(number, &repo.lineage, write_id.clone(), parent, time);
    let options = PutOptions::create().with_metadata(WRITE_ID, write_id);
    match store.commit(&commit_key(number), head.encode().into(), &options).await {
        Ok(_) => Ok(Claim { lineage: repo.lineage, number, snapshot }),
        Err(store::Error::Fenced { .. }) => Err(Error::Fenced {
            what: format!("another writer claimed number {number} at the same moment"),
            hint: "check that only one pod writes to this replica".into(),
        }),
        Err(e) => Err(e.into()),
    }
}

/// `restore unlock`: takes the claim away from whoever holds it. Its writer is fenced at its next commit; the next start of a
/// writer claims anew.
pub async fn unlock(store: &Store, clock: &dyn Clock, ids: &dyn IdGen) -> Result<Claim> {
    let Some(repo) = Repo::load(store).await? else {
        return Err(Error::Nothing {
            what: "there is no replica of files here".into(),
            hint: "check the URL".into(),
        });
    };
    claim(store, &repo.identity, clock, ids).await
}
