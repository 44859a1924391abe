//! What a start notes on the volume for the next one: that a restore is under way, and which `restore-at` was applied.

use crate::error::{Error, Result};
use clock::UnixMs;
use std::fs;
use std::path::Path;

const APPLIED: &str = "restore-at";
/// There while a restore is under way, from before the claim until the file is in place: the claim's record no longer says what the
/// file was, so that a start which finds this restores again.
const UNDER_WAY: &str = "restoring";

/// A restore begins.
pub(super) fn begin(state_dir: &Path) -> Result<()> {
    let path = state_dir.join(UNDER_WAY);
    let made = fs::File::create(&path)
        .and_then(|f| f.sync_all())
        .and_then(|()| fs::File::open(state_dir)?.sync_all());
    made.map_err(Error::io(&path, "write"))
}

/// Whether a restore was cut off.
pub(super) fn is_under_way(state_dir: &Path) -> bool {
    state_dir.join(UNDER_WAY).exists()
}

/// It is in place.
pub(super) fn end(state_dir: &Path) -> Result<()> {
    let path = state_dir.join(UNDER_WAY);
    fs::remove_file(&path).map_err(Error::io(&path, "remove"))
}

/// Whether this value of `restore-at` was applied here.
pub(super) fn was_applied(state_dir: &Path, at: UnixMs) -> bool {
    fs::read_to_string(state_dir.join(APPLIED)).is_ok_and(|text| clock::parse_unix_ms(&text) == Some(at))
}

/// It was.
pub(super) fn remember_applied(state_dir: &Path, at: UnixMs) -> Result<()> {
    let path = state_dir.join(APPLIED);
    fs::write(&path, clock::format_unix_ms(at) + "\n").map_err(Error::io(&path, "write"))?;
    fs::File::open(&path).and_then(|f| f.sync_all()).map_err(Error::io(&path, "sync"))
}
