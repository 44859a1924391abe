//! Digests of what was sent, by which a pod that can open nothing compares what the store gives back (decision 0010).
//!
//! Kept for sealed replicas only: of a plain one every file proves itself. Lines of `sha256sum`, so that a copy of the bucket can be checked by
//! hand (P8), in `.highwater/<database>/digests`; the first one, a comment, names the lineage, since another history uses the same keys.
//! A note on the volume: nothing is synced, a line that was lost or torn is a file that is not compared, and a volume without
//! it compares what is sent from now on. Bounded (P7): when it is full, what no restore of the newest state reads is forgotten.
//! It is evidence against the store and whoever else writes there, not against who can write to the volume.

use crate::layout::Layout;
use crate::upkeep::Upkeep;
use crate::upkeep::task::Stored;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes; a line has about 110.
const MOST: u64 = 512 << 10;
/// Lines that stay when it is full.
const STAY: usize = 2_048;
/// Hex digits of a digest.
const DIGITS: usize = 64;

/// The digests of one database.
#[derive(Debug)]
pub(crate) struct Digests {
    path: PathBuf,
    lineage: u64,
    /// Bytes there; 0 where the next line begins it anew.
    bytes: u64,
}

impl Digests {
    /// Those of this lineage, if what is in the state directory is of it.
    pub(crate) fn open(state: &Path, lineage: u64) -> Digests {
        let path = state.join("digests");
        let mut first = Vec::new();
        let read = fs::File::open(&path)
            .and_then(|file| file.take(head(lineage).len() as u64).read_to_end(&mut first));
        let ours = read.is_ok() && first == head(lineage).as_bytes();
        let bytes = fs::metadata(&path).map_or(0, |meta| meta.len());
        Digests { path, lineage, bytes: if ours { bytes } else { 0 } }
    }

    /// A lineage was created: nothing is known of it yet.
    pub(crate) fn begin(&mut self, lineage: u64) {
        (self.lineage, self.bytes) = (lineage, 0);
    }

    /// Takes down what was sent under `key`. `chain`: the keys that a restore of the newest state reads, oldest first. A line that
    /// cannot be written stops nothing.
    pub(crate) fn note(&mut self, key: &str, sha256: &str, chain: impl FnOnce() -> Vec<String>) {
        let noted = self.append(key, sha256).and_then(|()| match self.bytes > MOST {
            true => self.forget(&chain()),
            false => Ok(()),
        });
        if let Err(error) = noted {
            tracing::debug!(%error, key, "the digest of what was sent is not kept");
            // What is there may end in half a line, or be gone: the next line asks again.
            self.bytes = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        }
    }

    fn append(&mut self, key: &str, sha256: &str) -> io::Result<()> {
        let anew = self.bytes == 0 || !self.path.exists();
        let line = format!("{}{sha256}  {key}\n", if anew { head(self.lineage) } else { String::new() });
        if anew {
            fs::write(&self.path, &line)?;
            self.bytes = 0;
        } else {
            OpenOptions::new().append(true).open(&self.path)?.write_all(line.as_bytes())?;
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Keeps what the chain reads: its image, and the newest of the rest.
    fn forget(&mut self, chain: &[String]) -> io::Result<()> {
        let known = self.read()?;
        let (image, rest) = chain.split_at(chain.len().min(1));
        let rest = &rest[rest.len().saturating_sub(STAY - 1)..];
        let lines = image.iter().chain(rest).filter_map(|key| Some(format!("{}  {key}\n", known.get(key)?)));
        let text = head(self.lineage) + &lines.collect::<String>();
        let new = self.path.with_extension("new");
        fs::write(&new, &text)?;
        fs::rename(&new, &self.path)?;
        self.bytes = text.len() as u64;
        Ok(())
    }

    /// The digests of these keys, as far as they are known, in hex.
    pub(crate) fn of(&self, keys: impl Iterator<Item = String>) -> BTreeMap<String, String> {
        let mut known = if self.bytes > 0 { self.read().unwrap_or_default() } else { HashMap::new() };
        keys.filter_map(|key| known.remove(&key).map(|digest| (key, digest))).collect()
    }

    /// By key; the last line of a key counts.
    fn read(&self) -> io::Result<HashMap<String, String>> {
        let mut text = Vec::new();
        // As much again is nobody's; a volume is not believed without a bound.
        fs::File::open(&self.path)?.take(2 * MOST).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
    }
}

fn head(lineage: u64) -> String {
    format!("# {lineage:016x}\n")
}

/// Key and digest of a line that is whole.
fn parse(line: &str) -> Option<(String, String)> {
    let (digest, key) = line.split_once("  ")?;
    let whole =
        digest.len() == DIGITS && digest.bytes().all(|b| b.is_ascii_hexdigit()) && key.ends_with(".ltx");
    whole.then(|| (key.to_owned(), digest.to_owned()))
}

impl Upkeep {
    /// The replica is sealed: what is sent is noted in the state directory, and compared if the store may be read.
    pub(crate) fn compare_digests(&mut self, state: &Path, lineage: u64, compares: bool) {
        (self.digests, self.compares) = (Some(Digests::open(state, lineage)), compares);
    }

    /// A lineage was created.
    pub(crate) fn begin_digests(&mut self, lineage: u64) {
        if let Some(digests) = &mut self.digests {
            digests.begin(lineage);
        }
    }

    pub(super) fn note_digest(&mut self, Stored { file, sha256 }: &Stored) {
        let (Some(digests), Some(sha256)) = (&mut self.digests, sha256) else { return };
        let (layout, holdings) = (Layout::of(self.store.kind()), &self.holdings);
        digests.note(&file.key(layout), sha256, || {
            let chain = holdings.newest().map_or_else(Vec::new, |newest| holdings.chain(newest));
            chain.iter().map(|h| h.key(layout)).collect()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: usize) -> String {
        format!("{of:064x}")
    }

    fn key(of: usize) -> String {
        format!("0000/{of:016x}-{of:016x}.ltx")
    }

    fn known(digests: &Digests, of: usize) -> Option<String> {
        digests.of([key(of)].into_iter()).remove(&key(of))
    }

    #[test]
    fn what_was_noted_is_known_after_a_restart_and_to_its_lineage_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut digests = Digests::open(dir.path(), 7);
        assert_eq!(known(&digests, 1), None);
        digests.note(&key(1), &digest(1), Vec::new);
        digests.note(&key(2), &digest(2), Vec::new);
        digests.note(&key(1), &digest(3), Vec::new);
        let again = Digests::open(dir.path(), 7);
        assert_eq!((known(&again, 1), known(&again, 2)), (Some(digest(3)), Some(digest(2))));
        let mut other = Digests::open(dir.path(), 8);
        assert_eq!(known(&other, 1), None, "another history has other objects under the same keys");
        other.note(&key(5), &digest(5), Vec::new);
        assert_eq!((known(&other, 1), known(&other, 5)), (None, Some(digest(5))));
        other.begin(9);
        assert_eq!(known(&other, 5), None);
    }

    #[test]
    fn a_torn_line_is_a_file_that_is_not_compared() {
        let dir = tempfile::tempdir().unwrap();
        let mut digests = Digests::open(dir.path(), 7);
        for n in 1..=3 {
            digests.note(&key(n), &digest(n), Vec::new);
        }
        let path = dir.path().join("digests");
        let text = fs::read(&path).unwrap();
        for end in 0..text.len() {
            // Cut there, and zeros behind, as a loss of power leaves it.
            fs::write(&path, [&text[..end], &vec![0; text.len() - end]].concat()).unwrap();
            let after = Digests::open(dir.path(), 7);
            for n in 1..=3 {
                assert!(known(&after, n).is_none_or(|found| found == digest(n)), "{n} cut at {end}");
            }
        }
    }

    #[test]
    fn p7_it_is_bounded_and_keeps_what_the_chain_reads() {
        let dir = tempfile::tempdir().unwrap();
        let mut digests = Digests::open(dir.path(), 7);
        let (image, mut largest) = ("0009/0000000000000001-0000000000000001.ltx", 0);
        digests.note(image, &digest(9), Vec::new);
        for n in 1..=12_000 {
            let chain = || [image.to_owned()].into_iter().chain((1..=n).map(key)).collect();
            digests.note(&key(n), &digest(n), chain);
            largest = largest.max(fs::metadata(dir.path().join("digests")).unwrap().len());
        }
        assert!(largest <= MOST + 200, "{largest}");
        assert!(digests.of([image.to_owned()].into_iter()).len() == 1, "the image stays");
        assert_eq!(known(&digests, 12_000), Some(digest(12_000)));
        assert_eq!(known(&digests, 1), None);
        assert!(!dir.path().join("digests.new").exists());
    }
}
