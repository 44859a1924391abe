//! From layers to the description: defaults, expansion, and the checks that need to see everything.
//!
//! Refused here: the same path twice, a replica that two things would write (equal, or one inside the other, P4), paths with
//! `..`, settings of what is not backed up, names that cannot stand in a key.

use crate::description::is_pattern;
use crate::{
    Database, DatabaseEntry, Description, Encrypt, Error, Files, FilesEntry, Layer, Located, Place, Profile,
};
use crate::{Restore, Variables};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use url::Url;

const DEFAULT_ROOT: &str = "/highwater/data";
const DEFAULT_DEBOUNCE: Duration = Duration::from_secs(10);
/// Left out of every tree that says nothing else; SQLite files are found by header and always left out.
const DEFAULT_EXCLUDE: [&str; 5] = ["*.db*", "*-wal", "*-shm", "*.log", ".highwater/**"];

/// Checks and completes what the sources said.
pub(crate) fn resolve(layer: Layer, mut variables: Variables) -> Result<Description, Error> {
    let app = layer.app.as_ref().map(name).transpose()?;
    let cluster = layer.cluster.as_ref().map(name).transpose()?;
    variables.cluster.clone_from(&cluster);
    let common = match &layer.replica {
        Some(replica) => Some(Located::new(url(replica, &variables)?, replica.place.clone())),
        None => None,
    };
    if common.is_some() && app.is_none() {
        return Err(Error::Missing {
            key: "app",
            reason: "a replica records whose it is; name the application".into(),
        });
    }
    let root = match &layer.root {
        Some(root) if !root.value.starts_with('/') => {
            return Err(value(&root.place, format!("{:?} is not an absolute path", root.value)));
        }
        Some(root) => PathBuf::from(&root.value),
        None => PathBuf::from(DEFAULT_ROOT),
    };
    let completer = Completer { layer: &layer, variables: &variables, common: common.as_ref() };
    let mut databases = Vec::new();
    for entry in layer.databases.iter().flatten() {
        databases.push((completer.database(entry)?, &entry.path.place));
    }
    let mut files = Vec::new();
    for entry in layer.files.iter().flatten() {
        files.push((completer.files(entry)?, &entry.path.place));
    }
    if databases.is_empty() && files.is_empty() {
        let reason = "nothing is protected; list databases or files".to_owned();
        return Err(Error::Missing { key: "databases", reason });
    }
    check_paths(&root, &databases, &files)?;
    check_replicas(&layer, &databases, &files)?;
    let mut databases: Vec<Database> = databases.into_iter().map(|(database, _)| database).collect();
    let mut files: Vec<Files> = files.into_iter().map(|(tree, _)| tree).collect();
    databases.sort_by(|a, b| a.path.cmp(&b.path));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Description {
        app,
        cluster,
        replica: common.map(|url| url.value.to_string()),
        root,
        encrypt: layer.recipients.as_ref().map(encrypt).transpose()?,
        databases,
        files,
        restore: Restore {
            mode: plain(&layer.restore),
            at_unix_ms: layer.restore_at.as_ref().map(|at| at.value),
            timeout: plain(&layer.restore_timeout),
            integrity: plain(&layer.integrity),
        },
    })
}

struct Completer<'a> {
    layer: &'a Layer,
    variables: &'a Variables,
    common: Option<&'a Located<Url>>,
}

impl Completer<'_> {
    fn database(&self, entry: &DatabaseEntry) -> Result<Database, Error> {
        let path = path(&entry.path)?;
        if path == "." {
            return Err(value(
                &entry.path.place,
                "the root itself is not a database; write *.db or a directory".into(),
            ));
        }
        let profile = entry
            .profile
            .as_ref()
            .or(self.layer.profile.as_ref())
            .map_or(Profile::default(), |set| set.value);
        if !profile.is_backed_up() {
            let setting =
                entry.snapshot.as_ref().map(|set| &set.place).or(entry.keep.as_ref().map(|set| &set.place));
            if let Some(place) = setting.or(entry.url.as_ref().map(|set| &set.place)) {
                let reason = format!("has no meaning for {path}, which is {profile} and not backed up");
                return Err(Error::Contradiction { place: place.clone(), reason });
            }
            return Ok(Database {
                path,
                url: None,
                profile,
                snapshot: profile.snapshot(),
                keep: profile.keep(),
            });
        }
        let snapshot = self.snapshot(entry.snapshot.as_ref(), profile)?;
        let keep = entry.keep.as_ref().or(self.layer.keep.as_ref()).map_or(profile.keep(), |set| set.value);
        let below = if is_pattern(&path) { "" } else { path.as_str() };
        let url = self.replica(entry.url.as_ref(), "sqlite", below, &entry.path.place)?;
        Ok(Database { url: Some(url), path, profile, snapshot, keep })
    }

    fn files(&self, entry: &FilesEntry) -> Result<Files, Error> {
        let path = path(&entry.path)?;
        if is_pattern(&path) {
            return Err(value(
                &entry.path.place,
                format!("{path:?}: a tree is a directory; select by exclude"),
            ));
        }
        // A default profile of ephemeral databases says nothing about trees that somebody listed.
        let profile =
            self.layer.profile.as_ref().map(|set| set.value).filter(|profile| profile.is_backed_up());
        let profile = profile.unwrap_or_default();
        let exclude = match (&entry.exclude, &self.layer.files_exclude) {
            (Some(own), _) => own.clone(),
            (None, Some(common)) => common.value.clone(),
            (None, None) => DEFAULT_EXCLUDE.map(str::to_owned).to_vec(),
        };
        Ok(Files {
            url: self.replica(entry.url.as_ref(), "files", &path, &entry.path.place)?,
            exclude,
            debounce: self.layer.debounce.as_ref().map_or(DEFAULT_DEBOUNCE, |set| set.value),
            snapshot: self.snapshot(entry.snapshot.as_ref(), profile)?,
            keep: entry.keep.as_ref().or(self.layer.keep.as_ref()).map_or(profile.keep(), |set| set.value),
            path,
        })
    }

    fn snapshot(&self, own: Option<&Located<Duration>>, profile: Profile) -> Result<Duration, Error> {
        let Some(set) = own.or(self.layer.snapshot.as_ref()) else { return Ok(profile.snapshot()) };
        if set.value < Duration::from_secs(60) {
            return Err(value(&set.place, "a restore point more often than every minute is not meant; commits are shipped at once anyway".into()));
        }
        Ok(set.value)
    }

    /// The entry's own URL, or the common one with the kind and the path appended: `…/sqlite/db.sqlite3`, `…/files`.
    fn replica(
        &self,
        own: Option<&Located<String>>,
        kind: &str,
        path: &str,
        place: &Place,
    ) -> Result<String, Error> {
        if let Some(own) = own {
            return Ok(url(own, self.variables)?.to_string());
        }
        let Some(common) = self.common else {
            let reason = format!("{place} has no replica; set replica, or url for every entry");
            return Err(Error::Missing { key: "replica", reason });
        };
        let mut url = common.value.clone();
        let parts = [kind].into_iter().chain(path.split('/').filter(|part| !part.is_empty() && *part != "."));
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(parts);
            }
            Err(()) => {
                return Err(value(&common.place, format!("{} has no path to append to", common.value)));
            }
        }
        Ok(url.to_string())
    }
}

fn plain<T: Copy + Default>(set: &Option<Located<T>>) -> T {
    set.as_ref().map_or(T::default(), |set| set.value)
}

fn value(place: &Place, reason: String) -> Error {
    Error::Value { place: place.clone(), reason }
}

/// Names stand in object keys, claims and labels.
fn name(set: &Located<String>) -> Result<String, Error> {
    let text = set.value.trim();
    let fits = (1..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if fits {
        return Ok(text.to_owned());
    }
    Err(value(&set.place, format!("{text:?} is not a name (1 to 63 of a-z, A-Z, 0-9, '-', '.', '_')")))
}

fn url(set: &Located<String>, variables: &Variables) -> Result<Url, Error> {
    let text = variables.expand(set.value.trim()).map_err(|reason| value(&set.place, reason))?;
    let url =
        Url::parse(&text).map_err(|error| value(&set.place, format!("{text:?} is not a URL: {error}")))?;
    let host = url.host_str().unwrap_or("");
    let reason = match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => "credentials do not belong into a URL",
        _ if url.fragment().is_some() => "has a # part, which no store knows",
        "s3" if host.is_empty() => "names no bucket",
        "s3" => return Ok(url),
        "file" if !host.is_empty() => "file needs three slashes (file:///path)",
        "file" => return Ok(url),
        _ => "is neither s3:// nor file://",
    };
    // The text may hold what made us refuse it; only its scheme is repeated.
    Err(value(&set.place, format!("the {} URL {reason}", url.scheme())))
}

/// Relative and tidy: no `..`, no `.` inside, no trailing slash. An absolute path stays absolute.
fn path(set: &Located<String>) -> Result<String, Error> {
    let text = set.value.trim();
    if text.is_empty() || text.contains(['\0', '\n']) {
        return Err(value(&set.place, format!("{text:?} is not a path")));
    }
    let mut tidy = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::ParentDir => {
                return Err(value(&set.place, format!("{text:?} leaves the root; paths hold no ..")));
            }
            Component::CurDir => {}
            other => tidy.push(other),
        }
    }
    let tidy = tidy.to_string_lossy().into_owned();
    Ok(if tidy.is_empty() { ".".to_owned() } else { tidy })
}

fn encrypt(set: &Located<Vec<String>>) -> Result<Encrypt, Error> {
    let recipients: Vec<String> = set.value.iter().map(|recipient| recipient.trim().to_owned()).collect();
    if recipients.is_empty() || recipients.iter().any(String::is_empty) {
        return Err(value(&set.place, "encryption without a recipient".into()));
    }
    // Never repeat the text: it is a secret in the wrong place.
    if recipients.iter().any(|recipient| recipient.to_uppercase().contains("SECRET-KEY")) {
        return Err(value(&set.place, "holds a secret key; recipients are public keys (age1…)".into()));
    }
    Ok(Encrypt { recipients })
}

fn check_paths(
    root: &Path,
    databases: &[(Database, &Place)],
    files: &[(Files, &Place)],
) -> Result<(), Error> {
    let twice = |paths: Vec<(PathBuf, &Place)>, nested: bool| {
        for (index, (later, place)) in paths.iter().enumerate() {
            for (earlier, first) in &paths[..index] {
                let overlap =
                    later == earlier || nested && (later.starts_with(earlier) || earlier.starts_with(later));
                if overlap {
                    let reason = format!("{} is already protected by {first}", later.display());
                    return Err(Error::Contradiction { place: (*place).clone(), reason });
                }
            }
        }
        Ok(())
    };
    twice(databases.iter().map(|(database, place)| (root.join(&database.path), *place)).collect(), false)?;
    // A file in two trees would be restored by both.
    let trees = files.iter().map(|(tree, place)| (root.join(tree.path.trim_start_matches("./")), *place));
    twice(
        trees
            .map(|(path, place)| (path.components().filter(|c| *c != Component::CurDir).collect(), place))
            .collect(),
        true,
    )
}

/// A place in a store that something is written below.
struct Target<'a> {
    /// The URL without its query: that only says how to get there.
    url: String,
    endpoint: Option<String>,
    /// Written by somebody. Those made from the common replica cannot clash: they differ as their paths do.
    own: bool,
    place: &'a Place,
}

impl<'a> Target<'a> {
    fn new(url: &str, own: bool, place: &'a Place) -> Self {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let endpoint = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "endpoint");
        let endpoint = endpoint.map(|(_, value)| value.trim_end_matches('/').to_owned());
        Self { url: base.trim_end_matches('/').to_owned(), endpoint, own, place }
    }

    fn is_inside(&self, other: &Self) -> bool {
        self.url.strip_prefix(&other.url).is_some_and(|rest| rest.starts_with('/'))
    }

    fn clashes(&self, other: &Self) -> bool {
        let nested = (self.own || other.own) && (self.is_inside(other) || other.is_inside(self));
        self.endpoint == other.endpoint && (self.url == other.url || nested)
    }
}

fn check_replicas(
    layer: &Layer,
    databases: &[(Database, &Place)],
    files: &[(Files, &Place)],
) -> Result<(), Error> {
    let mut targets: Vec<Target<'_>> = Vec::new();
    for ((database, place), entry) in databases.iter().zip(layer.databases.iter().flatten()) {
        // Matches of patterns lie below the common replica by their own paths; there is nothing to share.
        if let Some(url) = database.url.as_deref().filter(|_| entry.url.is_some() || !database.is_pattern()) {
            targets.push(Target::new(url, entry.url.is_some(), place));
        }
    }
    for ((tree, place), entry) in files.iter().zip(layer.files.iter().flatten()) {
        targets.push(Target::new(&tree.url, entry.url.is_some(), place));
    }
    for (index, later) in targets.iter().enumerate() {
        if let Some(earlier) = targets[..index].iter().find(|earlier| later.clashes(earlier)) {
            let how = if later.url == earlier.url { "is already" } else { "lies inside, or around," };
            let reason = format!("its replica {} {how} the replica of {}", later.url, earlier.place);
            return Err(Error::Contradiction { place: later.place.clone(), reason });
        }
    }
    Ok(())
}
