//! `status`, `list` and `diff`: what is in the store, as tables or JSON.

use crate::cli::{Diff, Output, Read};
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

pub(crate) async fn list(args: Read) -> Result<Exit> {
    for (place, _) in places(args.url.as_deref(), args.config.as_deref())? {
        let store = place.open(OpenConfig::default()).await?;
        repo(&store).await?;
        let heads = Catalogue::load(&store).await?.heads(&store, |_| None).await?;
        let rows: Vec<Row> = heads.iter().filter(|h| h.kind == CommitKind::Snapshot).map(row).collect();
        match args.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
            Output::Text => {
                println!(
                    "{:>8}  {:<24}  {:>8}  {:>12}  {:>7}  {:>8}",
                    "SNAPSHOT", "TIME", "ENTRIES", "BYTES", "OBJECTS", "UNSTABLE"
                );
                for r in rows {
                    println!(
                        "{:>8}  {:<24}  {:>8}  {:>12}  {:>7}  {:>8}",
                        r.snapshot, r.time, r.entries, r.bytes, r.objects, r.unstable
                    );
                }
            }
        }
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
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&all)?),
        Output::Text => {
            for s in all {
                println!("{}", s.replica);
                println!(
                    "  belongs to  cluster {:?}, app {:?}, tree {:?} (lineage {}, claim {})",
                    s.cluster, s.app, s.tree, s.lineage, s.claim
                );
                match (&s.newest, s.age_seconds) {
                    (Some(n), Some(age)) => println!(
                        "  newest      snapshot {} of {} ({age} s ago): {} entries, {} bytes",
                        n.snapshot, n.time, n.entries, n.bytes
                    ),
                    _ => println!("  newest      none"),
                }
                match (&s.proven, &s.proven_at, &s.proven_how) {
                    (Some(number), Some(at), Some(how)) => {
                        println!("  proven      through snapshot {number}, at {at}, by {how}")
                    }
                    _ => println!("  proven      nothing yet"),
                }
            }
        }
    }
    Ok(Exit::Done)
}

pub(crate) async fn diff(args: Diff) -> Result<Exit> {
    let store = place(None, &args.url)?.open(OpenConfig::default()).await?;
    let identities = identities(args.identity.as_deref())?;
    let (_, a) = read_manifest(&store, args.a, identities.as_deref()).await?;
    let (_, b) = read_manifest(&store, args.b, identities.as_deref()).await?;
    let changes = file_replica::diff(&a, &b);
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&changes)?),
        Output::Text => {
            println!("{:<9}  {:>12}  {:>12}  PATH", "CHANGE", "BEFORE", "AFTER");
            for c in &changes {
                let what = format!("{:?}", c.what).to_lowercase();
                println!("{what:<9}  {:>12}  {:>12}  {}", c.before, c.after, c.path);
            }
        }
    }
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
