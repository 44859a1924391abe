//! Benchmarks of trees of files: what keeping one costs, and how fast it comes back, beside `rclone sync` and `restic`.
//!
//! All three get the same trees, the same changes and a server each that counts. `rclone sync` keeps no history and no owner, `restic` and
//! we do; the tables say what each was asked to do, not that it is the same. What is not installed is missing in the tables.

mod backup;
mod restore;
mod sidecar;
mod tool;
mod tree;

use crate::Measure;

/// See [`crate::bench`].
pub(crate) const SECTIONS: [Measure; 4] = [
    ("backup", backup::measure),
    ("sidecar", sidecar::measure),
    ("idle", sidecar::idle),
    ("restore", restore::measure),
];

pub(crate) use tool::beside;
