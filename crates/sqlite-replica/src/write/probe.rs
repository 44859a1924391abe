//! Does the volume do what everything rests on? A write, its sync, a rename and the sync of the directory, before anything else.
//!
//! A volume that fails here would fail later, between an upload and the record of it.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Bytes that are written.
const SIZE: usize = 4096;

/// Writes, syncs, renames and removes a file in `dir`.
pub(crate) fn probe(dir: &Path) -> Result<()> {
    let (new, old) = (dir.join("probe.tmp"), dir.join("probe"));
    let mut file = File::create(&new).map_err(Error::io(&new, "write to the volume: create"))?;
    file.write_all(&[0x5a; SIZE]).map_err(Error::io(&new, "write to the volume"))?;
    file.sync_all().map_err(Error::io(&new, "write to the volume: sync"))?;
    fs::rename(&new, &old).map_err(Error::io(&old, "write to the volume: rename"))?;
    let sync = File::open(dir).and_then(|dir| dir.sync_all());
    sync.map_err(Error::io(dir, "write to the volume: sync the directory"))?;
    fs::remove_file(&old).map_err(Error::io(&old, "write to the volume: remove"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_works_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let error = probe(&dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("cannot write to the volume"), "{error}");
    }
}
