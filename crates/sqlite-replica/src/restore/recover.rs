//! A restore that knows what to do about damage: go around it, name it, and give back the newest point that is provable.
//!
//! An object that turns out to be missing, cut off, altered or foreign is taken out of the catalogue, and the plan is made anew. Often
//! another object covers the same TXIDs (a compacted one beside those it was made of), and then the very point that was asked for is
//! reached. Where it is not, an older one is restored only if the caller asked for that (`--latest-valid`); otherwise the error names the
//! object and the point. So it is with an end that is gone: what was proven once and is listed no more was lost, not never there (P6).
//! Nothing in the store is changed, ever (P3), and every attempt is proven like any other restore (P2).

use crate::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::layout::PROVEN_KEY;
use crate::proven::Proven;
use crate::restore::execute::{RestoreOptions, Restored, restore};
use crate::restore::object::GONE;
use crate::restore::plan::RestorePlan;
use crate::restore::points::point_at;
use crate::restore::replay::first_wrong;
use clock::UnixMs;
use ltx::Txid;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use store::{Progress, Store};

/// Listings that follow a vanished object: retention may be at work beside us, not against us.
const LOOK_AGAIN: u32 = 3;

/// Which point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The newest.
    Newest,
    /// Exactly this one.
    Txid(Txid),
    /// The newest committed at or before this time.
    Time(UnixMs),
}

/// One damaged object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Its key below the replica.
    pub key: String,
    /// What is wrong, one line.
    pub what: String,
}

/// A way to the goal, or as near as one gets.
#[derive(Debug, Clone)]
pub struct Way {
    /// What to apply.
    pub plan: RestorePlan,
    /// The TXID that was asked for.
    pub wanted: Txid,
}

/// What came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Recovered {
    /// What was restored.
    #[serde(flatten)]
    pub restored: Restored,
    /// The TXID that was asked for; the restored one is older only with `latest_valid`.
    pub wanted: String,
    /// Objects that were gone around.
    pub damage: Vec<Finding>,
}

/// The end of the chain beside what was proven.
enum End {
    /// It goes as far, or nothing is known.
    AsProven,
    /// It went on to this TXID once.
    Lost(Txid),
    /// A newer listing has to be looked at.
    Unsure,
}

/// A replica, and what is known to be wrong with it.
#[derive(Debug)]
pub struct Recovery {
    store: Store,
    catalogue: Catalogue,
    damage: Vec<Finding>,
    bad: BTreeSet<String>,
    latest_valid: bool,
    /// No point beyond this one: what was put together for it was not what its writer had.
    below: Option<Txid>,
    looked: u32,
    /// Whether the end of the chain was held against what was proven.
    ended: bool,
}

impl Recovery {
    /// `latest_valid`: an older provable point is better than none.
    pub fn new(store: &Store, catalogue: Catalogue, latest_valid: bool) -> Recovery {
        Recovery {
            store: store.clone(),
            catalogue,
            damage: Vec::new(),
            bad: BTreeSet::new(),
            latest_valid,
            below: None,
            looked: 0,
            ended: false,
        }
    }

    /// The way to `goal` around everything known to be damaged.
    pub async fn way(&mut self, goal: Goal) -> Result<Way> {
        loop {
            let left = self.catalogue.without(&self.bad);
            let mut by_name = matches!(goal, Goal::Txid(_));
            let wanted = match goal {
                Goal::Newest => None,
                Goal::Txid(txid) => Some(txid),
                Goal::Time(at) => match point_at(&self.store, &left, at).await {
                    Ok((point, time)) => {
                        by_name = time == at;
                        Some(point.txid)
                    }
                    Err(error) => {
                        self.learn(error).await?;
                        continue;
                    }
                },
            };
            // A point that never was stays an error, however much is damaged.
            if self.bad.is_empty() && self.below.is_none() {
                match RestorePlan::new(&left, wanted) {
                    Ok(plan) => match self.lost_end(by_name, plan.newest().name.max).await? {
                        End::AsProven => return Ok(Way { wanted: plan.newest().name.max, plan }),
                        End::Lost(wanted) => return Ok(Way { wanted, plan }),
                        End::Unsure => continue,
                    },
                    Err(error @ Error::Damaged { .. }) if !self.latest_valid => return Err(error),
                    Err(Error::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let newest = self.catalogue.newest().expect("something was there to be damaged");
            let wanted = wanted.unwrap_or(newest);
            let limit = self.below.map_or(wanted, |below| below.min(wanted));
            let Some(plan) = RestorePlan::furthest(&left, Some(limit)) else {
                return Err(self.hopeless());
            };
            let reached = plan.newest().name.max;
            if reached == wanted || self.latest_valid {
                return Ok(Way { plan, wanted });
            }
            return Err(self.offer(wanted, reached));
        }
    }

    /// Whether objects behind `reached` are gone: a chain that merely ends earlier has no gap. Whoever names the point, by number or by its
    /// very time, knows what he asks for.
    async fn lost_end(&mut self, by_name: bool, reached: Txid) -> Result<End> {
        if self.ended || by_name || self.catalogue.newest() != Some(reached) {
            return Ok(End::AsProven);
        }
        let Some(proven) = Proven::furthest(&self.store, &self.catalogue).await?.filter(|p| *p > reached)
        else {
            self.ended = true;
            return Ok(End::AsProven);
        };
        if self.looked < LOOK_AGAIN {
            // Its writer may have gone on, and proven that, since the listing.
            self.looked += 1;
            self.catalogue = Catalogue::load(&self.store).await?;
            return Ok(End::Unsure);
        }
        self.ended = true;
        let what = format!(
            "the replica was proven up to TXID {proven} and ends at {reached}: newer objects are gone"
        );
        if !self.latest_valid {
            return Err(Error::Damaged { what, hint: format!("restore TXID {reached} with --latest-valid") });
        }
        tracing::warn!(what);
        self.damage.push(Finding { key: PROVEN_KEY.to_owned(), what });
        Ok(End::Lost(proven))
    }

    /// Restores the way to `goal`; goes around whatever damage turns up.
    pub async fn restore(
        &mut self,
        goal: Goal,
        output: &Path,
        options: &RestoreOptions,
        progress: &Arc<Progress>,
    ) -> Result<Recovered> {
        loop {
            let way = self.way(goal).await?;
            match restore(&self.store, &way.plan, output, options, progress.clone()).await {
                Ok(restored) => {
                    return Ok(Recovered {
                        restored,
                        wanted: way.wanted.to_string(),
                        damage: self.damage.clone(),
                    });
                }
                Err(error @ (Error::Damaged { .. } | Error::Integrity { .. })) => {
                    self.doubt(error, &way.plan, output, options, progress).await?;
                }
                Err(error) => self.learn(error).await?,
            }
        }
    }

    /// What is known to be damaged.
    pub fn damage(&self) -> &[Finding] {
        &self.damage
    }

    /// Takes the object that `error` names out of the catalogue; any other error is given back.
    pub(crate) async fn learn(&mut self, error: Error) -> Result<()> {
        let Some(key) = error.object().filter(|key| !self.bad.contains(*key)).map(str::to_owned) else {
            return Err(error);
        };
        let what = match &error {
            Error::Object { what, .. } => what.clone(),
            Error::Ltx { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        if what == GONE && self.looked < LOOK_AGAIN {
            self.looked += 1;
            self.catalogue = Catalogue::load(&self.store).await?;
            if !self.catalogue.entries.iter().any(|e| e.key == key) {
                // Retention removed it; what replaced it is listed now. If nothing did, that is a hole in the chain.
                tracing::info!(key, "an object vanished while it was read; planning anew");
                return Ok(());
            }
        }
        tracing::warn!(key, what, "damaged object");
        self.bad.insert(key.clone());
        self.damage.push(Finding { key, what });
        Ok(())
    }

    /// All objects are intact and the result is not: one of them is of another history. It is found by replaying them in order.
    async fn doubt(
        &mut self,
        error: Error,
        plan: &RestorePlan,
        output: &Path,
        options: &RestoreOptions,
        progress: &Arc<Progress>,
    ) -> Result<()> {
        let fetch = options.fetch(&self.store, progress.clone());
        if let Some(wrong) = first_wrong(&fetch, plan, crate::restore::target::parent(output)).await? {
            return self.learn(wrong).await;
        }
        if !self.latest_valid || plan.newest().name.max == Txid::FIRST {
            return Err(error);
        }
        self.below(plan, &error.to_string());
        Ok(())
    }

    /// The end of `plan` is not a point any more, for a reason that no single object can be blamed for.
    pub(crate) fn below(&mut self, plan: &RestorePlan, what: &str) {
        let newest = plan.newest();
        self.damage.push(Finding { key: newest.key.clone(), what: what.to_owned() });
        match Txid::new(newest.name.max.get() - 1) {
            Some(before) => self.below = Some(before),
            None => drop(self.bad.insert(newest.key.clone())),
        }
    }

    fn offer(&self, wanted: Txid, reached: Txid) -> Error {
        match self.damage.as_slice() {
            [] => Error::Damaged {
                what: format!("no file continues after TXID {reached}, and the replica goes on to {wanted}"),
                hint: format!("restore TXID {reached} with --latest-valid"),
            },
            [first, more @ ..] => {
                let more = match more.len() {
                    0 => String::new(),
                    n => format!(" (and {n} more)"),
                };
                Error::Object {
                    key: first.key.clone(),
                    what: format!("{}{more}", first.what),
                    hint: format!(
                        "TXID {wanted} needs it; the newest point before it is {reached}: restore that with --latest-valid"
                    ),
                }
            }
        }
    }

    fn hopeless(&self) -> Error {
        let (key, what) =
            self.damage.first().map_or(("-".to_owned(), String::new()), |f| (f.key.clone(), f.what.clone()));
        Error::Object { key, what, hint: "no full image is left to start from".into() }
    }
}
