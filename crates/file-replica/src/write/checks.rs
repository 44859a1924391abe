//! What a look must pass before anything is sent: the guards, and the volume it began with.

use super::{Writer, changes, draft};
use crate::guard::{self, Verdict};
use crate::scan::Scanner;
use crate::{Error, Result};

impl Writer {
    /// `allowed` is the plan that was allowed for this look: reading the tree again needs no second word.
    pub(super) fn guard(&self, loss: &guard::Loss, allowed: &mut Option<String>) -> Result<()> {
        let Verdict::Refuse { finding, plan } = guard::judge(loss) else { return Ok(()) };
        if allowed.as_ref() == Some(&plan) {
            return Ok(());
        }
        if self.home.take_allowance(&plan) {
            tracing::warn!(plan, %finding, "a guard was overridden once");
            *allowed = Some(plan);
            return Ok(());
        }
        Err(Error::refused(
            format!("nothing was uploaded: {finding} (since snapshot {})", loss.parent),
            format!("check the volume; if it is meant, allow exactly this once with --allow {plan}"),
        ))
    }

    /// What vanished after the scan is judged like the rest. Files of which not one can be read are no empty tree (P6).
    pub(super) fn guard_draft(
        &self,
        drafted: draft::Drafted,
        allowed: &mut Option<String>,
    ) -> Result<draft::Drafted> {
        if drafted.gone_since_scan > 0 {
            let loss = changes::loss_of_draft(&drafted.entries, self.state.as_deref(), &self.settings);
            self.guard(&loss, allowed)?;
        }
        let unreadable = drafted.troubles.unreadable();
        if unreadable > 0 && drafted.entries.iter().all(|entry| entry.content().is_none()) {
            return Err(Error::refused(
                format!("nothing was uploaded: not one of {unreadable} files can be read"),
                "check the disk, and whose the files are",
            ));
        }
        // The newest snapshot cannot be opened here, so nobody knows whether they are in it: they must not drop out of the next one.
        if unreadable > 0 && self.state.is_none() && self.before.is_some() {
            return Err(Error::refused(
                format!(
                    "nothing was uploaded: {unreadable} files cannot be read, and the state that says whether they are stored is lost"
                ),
                "take a snapshot once with --identity, or make them readable",
            ));
        }
        Ok(drafted)
    }

    /// The volume under the writer must be the one it began with.
    pub(super) fn check_volume(&self) -> Result<()> {
        let root = &self.settings.root;
        if Scanner::device(root)? != self.device {
            return Err(Error::refused(
                format!("another file system is mounted at {} than at the start", root.display()),
                "check the volume and restart",
            ));
        }
        match self.home.marker()? {
            Some(marker) if marker == self.marker => Ok(()),
            Some(_) => Err(Error::refused("the marker of the tree was changed by somebody else", "restart")),
            None => Err(Error::refused(
                format!("{} has lost its marker (emptied, re-formatted or unmounted?)", root.display()),
                "nothing was uploaded; restore the tree, or restart with --adopt",
            )),
        }
    }
}
