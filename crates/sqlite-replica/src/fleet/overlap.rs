//! What cannot be followed side by side: one database under two names, one replica for two databases (P4).
//!
//! At the start the configuration is wrong and nothing begins. What turns up later is left out and said, and ends nobody: the
//! database that was there first keeps its writer.

use crate::fleet::config::Conflict;
use crate::fleet::member::Member;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Everything that is taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    paths: HashMap<PathBuf, usize>,
    files: HashMap<(u64, u64), usize>,
    names: HashMap<String, usize>,
    /// URL without its query and with a slash at its end, and the query.
    replicas: std::collections::BTreeMap<(String, String), usize>,
}

/// Why a database cannot be one more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// The member that was there before.
    pub(crate) with: usize,
    /// It is the same path, so two entries of a description mean the same.
    pub(crate) same_path: bool,
    what: String,
}

impl Taken {
    pub(crate) fn by(members: &[Member]) -> Taken {
        let mut taken = Taken::default();
        for (index, member) in members.iter().enumerate() {
            taken.add(member, index);
        }
        taken
    }

    pub(crate) fn add(&mut self, member: &Member, index: usize) {
        self.paths.insert(member.database.path.clone(), index);
        self.names.insert(member.database.name.clone(), index);
        self.replicas.insert(key(&member.database.replica), index);
        if let Some(file) = file_of(member) {
            self.files.insert(file, index);
        }
    }

    /// Whether `member` can be one more.
    pub(crate) fn check(&self, member: &Member) -> Result<(), Overlap> {
        let path = member.database.path.display();
        if let Some(with) = self.paths.get(&member.database.path) {
            return Err(Overlap {
                with: *with,
                same_path: true,
                what: format!("{path} is followed already"),
            });
        }
        if let Some(with) = file_of(member).and_then(|file| self.files.get(&file)) {
            return Err(Overlap { with: *with, same_path: false, what: format!("{path} is the same file") });
        }
        let (url, query) = key(&member.database.replica);
        // Everything below the URL follows it in order; what it lies below is one of its own beginnings.
        let below = self.replicas.range((url.clone(), String::new())..).next();
        let below = below.filter(|((other, q), _)| other.starts_with(&url) && *q == query);
        let above = url
            .match_indices('/')
            .find_map(|(at, _)| self.replicas.get_key_value(&(url[..=at].to_owned(), query.clone())));
        if let Some(((other, _), with)) = below.or(above) {
            let what = match *other == url {
                true => format!(
                    "{} is its replica already; a replica holds one database",
                    member.database.replica
                ),
                false => format!("its replica is {other}, and {} overlaps it", member.database.replica),
            };
            return Err(Overlap { with: *with, same_path: false, what });
        }
        Ok(())
    }
}

impl Overlap {
    /// As an error of the configuration.
    pub(crate) fn conflict(self, member: &Member, members: &[Member]) -> Conflict {
        let other = &members[self.with];
        let what = format!("{}: see {} ({})", self.what, other.database.path.display(), other.place);
        Conflict { place: member.place.clone(), what }
    }
}

fn file_of(member: &Member) -> Option<(u64, u64)> {
    fs::metadata(&member.database.path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn key(url: &str) -> (String, String) {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut query: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    query.sort_unstable();
    (format!("{}/", base.trim_end_matches('/')), query.join("&"))
}
