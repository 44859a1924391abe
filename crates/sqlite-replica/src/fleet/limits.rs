//! What a fleet may use (P7): writers at a time, open files, memory.

use crate::fleet::slots::Rules;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// Open files of one attached database: three of its own, those of two connections, four of ours.
const FILES_EACH: u64 = 12;
/// Open files of everything else.
const FILES_BESIDE: u64 = 96;
/// Bytes of pages that all writers together hold in memory before they spill to disk.
const MEMORY: usize = 16 << 20;
/// What one writer has at least, and at most.
const SHARE: (usize, usize) = (64 << 10, 4 << 20);

/// The knobs; the defaults are those of decision 0005.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Databases attached at a time; fewer if the process may not open that many files.
    pub attached: usize,
    /// Quiet for this long, an attached database leaves its slot to one that waits.
    pub quiet: Duration,
    /// A busy one leaves it after this time.
    pub turn: Duration,
    /// How often databases without a writer, and directories, are looked at without a hint.
    pub rescan: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            attached: 200,
            quiet: Duration::from_secs(5),
            turn: Duration::from_secs(30),
            rescan: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// No more than the process may open files for; the soft limit is raised to what is needed first.
    pub(crate) fn within_files(self) -> Limits {
        let needed = self.attached as u64 * FILES_EACH + FILES_BESIDE;
        let Ok((mut soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return self };
        let raised = needed.min(hard);
        if soft < raised && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() {
            soft = raised;
        }
        let attached = (soft.saturating_sub(FILES_BESIDE) / FILES_EACH).max(1).min(self.attached as u64);
        if attached < self.attached as u64 {
            tracing::debug!(attached, soft, hard, "fewer databases at a time, for want of open files");
        }
        Limits { attached: attached as usize, ..self }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules { slots: self.attached, quiet: self.quiet, turn: self.turn }
    }

    /// Bytes of pages one of `members` writers may hold in memory.
    pub(crate) fn share(&self, members: usize) -> usize {
        (MEMORY / members.clamp(1, self.attached.max(1))).clamp(SHARE.0, SHARE.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_all_writers_together_have_a_bound() {
        let limits = Limits::default();
        assert_eq!(limits.share(1), SHARE.1);
        for members in [1, 2, 7, 50, 200, 1_000, 100_000] {
            let all = limits.share(members) * members.min(limits.attached);
            assert!(all <= MEMORY.max(SHARE.0 * limits.attached), "{members}: {all}");
        }
    }
}
