//! All searches of a fleet, and what is new in them.

use crate::error::Error;
use crate::fleet::config::{Conflict, Fill, FleetConfig, pattern};
use crate::fleet::tree::{Searcher, Tree};
use crate::write::Config;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between searches that hints ask for: an application that creates many files is not searched for each of them.
const BETWEEN: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    all: Vec<Search>,
    directories: HashSet<PathBuf>,
    last: u64,
    hinted: bool,
}

#[derive(Debug)]
struct Search {
    place: String,
    writer: Config,
    fill: Fill,
    /// Away while it searches.
    searcher: Option<Searcher>,
    /// What was reported before.
    taken: HashSet<PathBuf>,
}

/// What is new.
#[derive(Debug, Default)]
pub(crate) struct FoundAll {
    /// Index of the search, name, file.
    pub(crate) new: Vec<(usize, String, PathBuf)>,
    /// What could not be searched.
    pub(crate) troubles: Vec<Error>,
}

impl Searches {
    pub(crate) fn new(config: &FleetConfig) -> Result<Searches, Conflict> {
        let mut searches = Searches::default();
        for target in &config.targets {
            let Some(found) = &target.found else { continue };
            let pattern = match &found.pattern {
                None => None,
                Some(text) => Some(pattern(text).map_err(|what| {
                    let place = target.place.clone();
                    Conflict { place, what }
                })?),
            };
            let tree = Tree { base: found.base(), root: found.root.clone(), pattern };
            searches.all.push(Search {
                place: target.place.clone(),
                writer: target.writer.clone(),
                fill: found.fill.clone(),
                searcher: Some(Searcher::new(tree)),
                taken: HashSet::new(),
            });
        }
        Ok(searches)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Directories that were searched.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.directories.iter()
    }

    pub(crate) fn place(&self, search: usize) -> &str {
        &self.all[search].place
    }

    /// How a database that was found is written; `None` if its replica has no URL.
    pub(crate) fn writer(&self, search: usize, name: &str, path: &Path) -> Option<Config> {
        let Search { writer, fill, .. } = &self.all[search];
        let mut writer = writer.clone();
        writer.identity.database = name.to_owned();
        writer.database = path.to_owned();
        (fill.0)(name, &mut writer).then_some(writer)
    }

    /// Whether to search: it is time, or a hint came and the last search is long enough ago.
    pub(crate) fn is_due(&mut self, time: bool, hinted: bool, now: u64) -> bool {
        self.hinted |= hinted;
        !self.is_empty()
            && (time || self.hinted && now.saturating_sub(self.last) >= BETWEEN.as_nanos() as u64)
    }

    /// When a hint that came too early is to be followed, in ns from now.
    pub(crate) fn hint_due_in(&self, now: u64) -> Option<Duration> {
        let passed = now.saturating_sub(self.last);
        self.hinted.then(|| BETWEEN.saturating_sub(Duration::from_nanos(passed)))
    }

    /// Searches now.
    pub(crate) fn now(&mut self, now_ms: i64) -> FoundAll {
        let mut found = FoundAll::default();
        let mut directories = HashSet::new();
        for (index, search) in self.all.iter_mut().enumerate() {
            let Some(searcher) = &mut search.searcher else { continue };
            let now = searcher.search(now_ms);
            directories.extend(now.directories);
            found.troubles.extend(now.troubles);
            for (name, path) in now.databases {
                if search.taken.insert(path.clone()) {
                    found.new.push((index, name, path));
                }
            }
        }
        self.directories = directories;
        found
    }

    /// Searches on a thread where it is in nobody's way.
    pub(crate) async fn run(&mut self, now_ms: i64, now: u64) -> FoundAll {
        (self.last, self.hinted) = (now, false);
        let mut searches = std::mem::take(self);
        let searched = tokio::task::spawn_blocking(move || {
            let found = searches.now(now_ms);
            (searches, found)
        });
        let (searches, found) = searched.await.expect("a search does not panic");
        *self = searches;
        found
    }
}
