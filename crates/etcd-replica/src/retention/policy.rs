//! What is kept, for how long; part of a destination.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// The fewest newest snapshots that always stay.
pub(crate) const LEAST_FLOOR: usize = 3;

/// A retention policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Seconds for which everything stays.
    pub keep_all: i64,
    /// Seconds for which the first of each UTC day stays.
    pub keep_daily: i64,
    /// The newest of these stay whatever their age.
    pub floor: usize,
    /// Deletions of one run at most.
    pub max_deletes: usize,
    /// Nothing is ever due.
    pub forever: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_all: 7 * super::DAY,
            keep_daily: 30 * super::DAY,
            floor: 7,
            max_deletes: 10,
            forever: false,
        }
    }
}

impl Policy {
    /// Refuses a policy that keeps nothing.
    pub fn check(&self) -> Result<()> {
        if self.forever {
            return Ok(());
        }
        if self.keep_all <= 0 && self.keep_daily <= 0 {
            return Err(Error::Usage(
                "keep-all 0 with keep-daily 0 would keep nothing; to keep everything say --keep-forever"
                    .into(),
            ));
        }
        if self.floor < LEAST_FLOOR {
            return Err(Error::Usage(format!("a floor below {LEAST_FLOOR} is not safe")));
        }
        Ok(())
    }

    /// 12 hex digits that stand for what it keeps (the cap on deletions is no part of that).
    pub fn hash(&self) -> String {
        let text = format!("{} {} {} {}", self.keep_all, self.keep_daily, self.floor, self.forever);
        hex::encode(&Sha256::digest(text)[..6])
    }

    /// Whether something that `before` keeps may go under this one.
    pub fn is_tighter_than(&self, before: &Self) -> bool {
        if self.forever {
            return false;
        }
        before.forever
            || self.keep_all < before.keep_all
            || self.keep_daily < before.keep_daily
            || self.floor < before.floor
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forever {
            return f.write_str("keep everything");
        }
        let days = |seconds: i64| format!("{} d {} h", seconds / super::DAY, seconds % super::DAY / 3_600);
        write!(
            f,
            "all for {}, daily for {}, at least {}",
            days(self.keep_all),
            days(self.keep_daily),
            self.floor
        )
    }
}
