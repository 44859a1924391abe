//! `config-syncer check`: everything a sidecar needs, tried once. Usable as a Job before a roll-out.

use crate::cli::Check;
use crate::trees::{Tree, resolve};
use anyhow::Result;
use door::exit_of;
use file_replica::{Catalogue, Error, Home, Repo};
use serde::Serialize;
use store::OpenConfig;
use telemetry::Exit;

/// One finding; the field names are an interface.
#[derive(Serialize)]
struct Finding {
    tree: String,
    check: &'static str,
    ok: bool,
    detail: String,
    #[serde(skip)]
    exit: Exit,
}

impl Finding {
    fn line(&self) -> String {
        let verdict = if self.ok { "ok" } else { "FAIL" };
        format!("{verdict:<4}  {}  {:<10}  {}\n", self.tree, self.check, self.detail)
    }
}

pub(crate) async fn run(args: Check) -> Result<Exit> {
    let resolved = resolve(&args.trees)?;
    let mut findings = Vec::new();
    for tree in &resolved.trees {
        look(tree, &mut findings).await;
    }
    door::print(args.output, &findings, |all| all.iter().map(Finding::line).collect());
    Ok(findings.iter().filter(|f| !f.ok).map(|f| f.exit).max().unwrap_or(Exit::Done))
}

async fn look(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut say = |check, result: std::result::Result<String, (Exit, String)>| {
        let (ok, exit, detail) = match result {
            Ok(detail) => (true, Exit::Done, detail),
            Err((exit, detail)) => (false, exit, detail),
        };
        findings.push(Finding { tree: tree.name.clone(), check, ok, detail, exit });
        ok
    };
    let of = |e: Error| (exit_of(e.class()), e.to_string());
    let root = &tree.settings.root;
    let readable = std::fs::read_dir(root).map(|_| format!("{} can be read", root.display()));
    say("directory", readable.map_err(|e| (Exit::Failed, format!("{}: {e}", root.display()))));
    let home = Home::of(root);
    say(
        "marker",
        home.marker()
            .map_err(of)
            .map(|m| m.map_or("none yet".into(), |m| format!("snapshot {} of {}", m.snapshot, m.lineage))),
    );
    let lock = match home.lock() {
        Ok(_) => Ok("nobody else works on it, and its state can be written".into()),
        Err(e) => Err(of(e)),
    };
    say("lock", lock);
    let store = match tree.place.open(OpenConfig::default()).await {
        Ok(store) => store,
        Err(e) => {
            say("store", Err((Exit::Usage, format!("{e:#}"))));
            return;
        }
    };
    let capable = store.capabilities().await.map_err(|e| of(e.into()));
    let works = say(
        "store",
        capable.map(|c| match c.create_only {
            true => "reached, and it refuses a second create".into(),
            false => "reached, and it does NOT refuse a second create: run a single writer".into(),
        }),
    );
    if !works {
        return;
    }
    if let Some(skew) = store.server_date_skew() {
        let detail = format!("the store's clock is {skew} ms ahead of ours");
        say("clock", if skew.abs() < 60_000 { Ok(detail) } else { Err((Exit::Failed, detail)) });
    }
    let replica = async {
        let Some(repo) = Repo::load(&store).await? else { return Ok("nothing there yet".to_owned()) };
        repo.check(&tree.settings.identity)?;
        let catalogue = Catalogue::load(&store).await?;
        let newest = catalogue.newest_snapshot(&store).await?;
        let marker = home.marker()?;
        let number = newest.as_ref().map(|h| h.number);
        let how = file_replica::begin(marker.as_ref(), Some(&repo.lineage), number, tree.settings.adopt)?;
        Ok(format!("newest snapshot {}, a writer would start: {how:?}", number.unwrap_or(0)))
    };
    say("replica", replica.await.map_err(of));
}
