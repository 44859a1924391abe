//! How a replica is kept: intervals of the levels, of restore points, of verification; what retention keeps; bounds.
//!
//! The defaults are Litestream 0.5's for the levels and the profile `standard` for everything else. Ages are relative to
//! the newest point of the replica, never to a clock alone, so that a stopped pod loses nothing (P3, trap 17).

use protect::{Keep, Profile};
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The rules for one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Levels 1, 2 and 3: at most one merged file per this time.
    pub levels: [Duration; 3],
    /// A proven restore point this often.
    pub snapshot: Duration,
    /// A full image at the latest after this time (of changes).
    pub image: Duration,
    /// What retention keeps.
    pub keep: Keep,
    /// Age at which files of levels 0, 1 and 2 go once a higher level holds the same states more coarsely.
    pub thin: [Duration; 3],
    /// How long a file stays after the one that replaces it was stored: a restore under way may still read it.
    pub grace: Duration,
    /// Most objects one retention run deletes.
    pub delete_budget: usize,
    /// Bytes of sent files kept on the volume, so that merging needs no reading from the store; 0 = none. While files
    /// are merged, up to as much again is used.
    pub spool_bytes: u64,
    /// Whether the store may be read: for what is not on the volume, and for proof.
    pub reads: bool,
    /// Whether the chain is checked by itself, and how often.
    pub verify: Option<Duration>,
    /// Bytes by which the WAL may grow while an image is streamed from the live database.
    pub wal_growth: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::of(Profile::Standard)
    }
}

impl Policy {
    /// The rules of a profile.
    pub fn of(profile: Profile) -> Policy {
        Policy {
            levels: [Duration::from_secs(30), Duration::from_secs(5 * MINUTE), Duration::from_secs(HOUR)],
            snapshot: profile.snapshot(),
            image: Duration::from_secs(DAY),
            keep: profile.keep(),
            thin: [Duration::from_secs(5 * MINUTE), Duration::from_secs(DAY), Duration::from_secs(7 * DAY)],
            grace: Duration::from_secs(5 * MINUTE),
            delete_budget: 1_000,
            spool_bytes: 64 << 20,
            reads: true,
            verify: Some(Duration::from_secs(DAY)),
            wal_growth: 256 << 20,
        }
    }

    /// Bytes of sent files kept on the volume beside a database of `db_bytes`: small databases lie on small volumes (P7).
    pub(crate) fn spool_of(&self, db_bytes: u64) -> u64 {
        self.spool_bytes.min((4 * db_bytes).max(2 << 20))
    }

    /// Bytes by which the WAL of a database of `db_bytes` may grow while an image of it is read (P7).
    pub(crate) fn wal_growth_of(&self, db_bytes: u64) -> u64 {
        self.wal_growth.min(db_bytes.max(4 << 20))
    }

    /// Age at which files of `level` may go, as far as a level above holds them; `None`: only below the oldest image.
    pub(crate) fn thin_after(&self, level: u8) -> Option<i64> {
        self.thin.get(usize::from(level)).map(|age| age.as_millis() as i64)
    }
}
