//! `status`, `list` and `diff`: what is in the store, as tables or JSON.

use crate::cli::{Diff, Read};
use crate::trees::{identities, place, places};
use anyhow::Result;
use file_replica::{Catalogue, CommitKind, Error, Head, Proven, Repo, read_manifest};
use serde::Serialize;
use store::{OpenConfig, Store};
use telemetry::Exit;

/// One line of the list; the field names are an interface.
#[derive(Serialize)]
struct Row {
    snapshot: u64,
    time: String,
    claim: u64,
    entries: u64,
    bytes: u64,
    objects: u64,
    unstable: u64,
    sealed: bool,
}

/// One line of the status; the field names are an interface.
#[derive(Serialize)]
struct Status {
    replica: String,
    lineage: String,
    cluster: String,
    app: String,
    tree: String,
    claim: u64,
    newest: Option<Row>,
    age_seconds: Option<i64>,
    proven: Option<String>,
    proven_at: Option<String>,
    proven_how: Option<String>,
}

impl Status {
    fn text(&self) -> String {
        let newest = match (&self.newest, self.age_seconds) {
            (Some(n), Some(age)) => format!(
                "snapshot {} of {} ({age} s ago): {} entries, {} bytes",
                n.snapshot, n.time, n.entries, n.bytes
            ),
            _ => "none".to_owned(),
        };
        let proven = match (&self.proven, &self.proven_at, &self.proven_how) {
            (Some(number), Some(at), Some(how)) => format!("through snapshot {number}, at {at}, by {how}"),
            _ => "nothing yet".to_owned(),
        };
        let of = format!(
            "cluster {:?}, app {:?}, tree {:?} (lineage {}, claim {})",
            self.cluster, self.app, self.tree, self.lineage, self.claim
        );
        format!("{}\n  belongs to  {of}\n  newest      {newest}\n  proven      {proven}\n", self.replica)
    }
}

pub(crate) async fn list(args: Read) -> Result<Exit> {
    for (place, _) in places(args.url.as_deref(), args.config.as_deref())? {
        let store = place.open(OpenConfig::default()).await?;
        repo(&store).await?;
        let heads = Catalogue::load(&store).await?.heads(&store, |_| None).await?;
        let rows: Vec<Row> = heads.iter().filter(|h| h.kind == CommitKind::Snapshot).map(row).collect();
        door::print(args.output, &rows, |rows| {
            let mut text = format!(
                "{:>8}  {:<24}  {:>8}  {:>12}  {:>7}  {:>8}\n",
                "SNAPSHOT", "TIME", "ENTRIES", "BYTES", "OBJECTS", "UNSTABLE"
            );
            for r in rows {
                text += &format!(
                    "{:>8}  {:<24}  {:>8}  {:>12}  {:>7}  {:>8}\n",
                    r.snapshot, r.time, r.entries, r.bytes, r.objects, r.unstable
                );
            }
            text
        });
    }
    Ok(Exit::Done)
}

pub(crate) async fn status(args: Read) -> Result<Exit> {
    let mut all = Vec::new();
    for (place, _) in places(args.url.as_deref(), args.config.as_deref())? {
        let store = place.open(OpenConfig::default()).await?;
        let repo = repo(&store).await?;
        let catalogue = Catalogue::load(&store).await?;
        let newest = catalogue.newest_snapshot(&store).await?;
        let last = match catalogue.numbers.last() {
            Some(number) => file_replica::read_head(&store, *number).await?.epoch,
            None => 0,
        };
        let proven = Proven::load(&store).await?;
        let now = clock::Clock::unix_ms(&clock::SystemClock);
        all.push(Status {
            replica: place.text.clone(),
            lineage: repo.lineage,
            cluster: repo.identity.cluster,
            app: repo.identity.app,
            tree: repo.identity.tree,
            claim: last,
            age_seconds: newest.as_ref().map(|h| (now - h.unix_ms()) / 1_000),
            newest: newest.as_ref().map(row),
            proven: proven.as_ref().map(|p| p.through.clone()),
            proven_at: proven.as_ref().map(|p| p.at.clone()),
            proven_how: proven.map(|p| p.how),
        });
    }
    door::print(args.output, &all, |all| all.iter().map(Status::text).collect());
    Ok(Exit::Done)
}

pub(crate) async fn diff(args: Diff) -> Result<Exit> {
    let store = place(None, &args.url)?.open(OpenConfig::default()).await?;
    let identities = identities(args.identity.as_deref())?;
    let (_, a) = read_manifest(&store, args.a, identities.as_deref()).await?;
    let (_, b) = read_manifest(&store, args.b, identities.as_deref()).await?;
    let changes = file_replica::diff(&a, &b);
    door::print(args.output, &changes, |changes| {
        let mut text = format!("{:<9}  {:>12}  {:>12}  PATH\n", "CHANGE", "BEFORE", "AFTER");
        for c in changes {
            let what = format!("{:?}", c.what).to_lowercase();
            text += &format!("{what:<9}  {:>12}  {:>12}  {}\n", c.before, c.after, c.path);
        }
        text
    });
    Ok(Exit::Done)
}

/// A replica must be there: an empty answer for a mistyped URL would look like an empty replica.
async fn repo(store: &Store) -> Result<Repo> {
    let repo = Repo::load(store).await?;
    Ok(repo.ok_or_else(|| Error::Nothing {
        what: "there is no replica of files here".into(),
        hint: "check the URL".into(),
    })?)
}

fn row(head: &Head) -> Row {
    Row {
        snapshot: head.number,
        time: head.time.clone(),
        claim: head.epoch,
        entries: head.entries,
        bytes: head.bytes,
        objects: head.objects.len() as u64,
        unstable: head.unstable,
        sealed: head.sealed,
    }
}
