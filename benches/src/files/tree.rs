//! The trees that are kept, and what happens to them: the same for every tool, from the same seed.

use crate::bench::Bench;
use crate::dataset::body;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use testkit::rng::Rng;

/// Files per directory.
const PER_DIRECTORY: usize = 50;

/// How big a tree is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) files: usize,
    /// Bytes of a file on average.
    pub(crate) each: usize,
}

impl Size {
    /// The trees of this run: the two small ones, the large one where it is asked for, or the one that was named by its files.
    pub(crate) fn all(bench: &Bench) -> Vec<Size> {
        let large = Size { files: bench.sized(50_000, 1_000), each: 10 << 10 };
        match bench.files {
            Some(files) => {
                let known = [Size::small(bench), Size::middle(bench), large];
                let each = known.iter().find(|size| size.files >= files).unwrap_or(&large).each;
                vec![Size { files, each }]
            }
            None if bench.large => vec![Size::small(bench), Size::middle(bench), large],
            None => vec![Size::small(bench), Size::middle(bench)],
        }
    }

    pub(crate) fn small(bench: &Bench) -> Size {
        Size { files: bench.sized(300, 120), each: 7 << 10 }
    }

    pub(crate) fn middle(bench: &Bench) -> Size {
        Size { files: bench.sized(5_000, 200), each: 20 << 10 }
    }

    pub(crate) fn name(self) -> String {
        let mb = (self.files * self.each) as f64 / 1e6;
        format!("{} files, {mb:.0} MB", self.files)
    }
}

/// What happens between two runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    First,
    Nothing,
    One,
    Hundred,
    Renamed,
}

impl Event {
    pub(crate) const ALL: [Event; 5] =
        [Event::First, Event::Nothing, Event::One, Event::Hundred, Event::Renamed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Event::First => "first backup",
            Event::Nothing => "nothing changed",
            Event::One => "1 file changed",
            Event::Hundred => "100 files changed",
            Event::Renamed => "directory of 50 renamed",
        }
    }

    /// Makes it happen.
    pub(crate) fn happen(self, tree: &Path, size: Size) -> Result<()> {
        match self {
            Event::First | Event::Nothing => Ok(()),
            Event::One => write(tree, size, 7, 1),
            Event::Hundred => (0..100).try_for_each(|i| write(tree, size, i * size.files / 100, 2)),
            Event::Renamed => {
                let (from, to) = (tree.join("d1"), tree.join("renamed"));
                fs::rename(&from, to).with_context(|| from.display().to_string())
            }
        }
    }
}

/// Makes the tree.
pub(crate) fn plant(tree: &Path, size: Size) -> Result<()> {
    (0..size.files).try_for_each(|i| write(tree, size, i, 0))
}

fn path(tree: &Path, i: usize) -> PathBuf {
    tree.join(format!("d{}/f{i}", i / PER_DIRECTORY))
}

/// Content of which half compresses well: sizes from nothing to twice the average.
fn write(tree: &Path, size: Size, i: usize, version: u64) -> Result<()> {
    let mut rng = Rng::of(&[i as u64, version, size.files as u64]);
    let wanted = rng.range(1, 2 * size.each as u64) as usize;
    let mut content = Vec::with_capacity(wanted + 4096);
    while content.len() < wanted {
        content.extend(body(&mut rng));
    }
    content.truncate(wanted);
    let at = path(tree, i);
    fs::create_dir_all(at.parent().context("a file lies in a directory")?)?;
    fs::write(&at, content).with_context(|| at.display().to_string())
}

/// Whether a tree came back: names and bytes.
pub(crate) fn same(tree: &Path, back: &Path) -> Result<()> {
    let (a, b) = (list(tree)?, list(back)?);
    ensure!(a == b, "{} files came back of {}", b.len(), a.len());
    for name in a {
        ensure!(fs::read(tree.join(&name))? == fs::read(back.join(&name))?, "{} differs", name.display());
    }
    Ok(())
}

fn list(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        for entry in fs::read_dir(root.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true if path == Path::new(".highwater") => {}
                true => left.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}
