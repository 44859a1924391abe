//! `config-syncer import`: from an rclone mirror to the first snapshot. The mirror is only listed and read.

use crate::cli::Import;
use crate::trees::{place, resolve};
use anyhow::{Context, Result, ensure};
use clock::{SystemClock, SystemIds};
use file_replica::{Catalogue, Error, Steps, Writer, import, record, verify};
use std::sync::Arc;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: Import) -> Result<Exit> {
    let mut trees = resolve(&args.trees)?.trees;
    ensure!(trees.len() == 1, "an import is of one directory: name it and the URL of its replica");
    let mut tree = trees.pop().context("one directory")?;
    if let Some(name) = args.tree {
        tree.settings.identity.tree = name;
    }
    let store = tree.place.open(OpenConfig::default()).await?;
    if let Some(head) = Catalogue::load(&store).await?.newest_snapshot(&store).await? {
        return Err(refused(
            format!("the replica holds snapshot {} already", head.number),
            "an import is the first one; choose another URL",
        ));
    }
    let mut found = None;
    for text in &args.from {
        let mirror = place(None, text)?;
        if mirror.overlaps(&tree.place)? {
            return Err(refused(
                format!("the replica and the mirror {text} lie inside each other"),
                "a sync of the old loop would delete the replica; choose another prefix",
            ));
        }
        let mirror = mirror.open(OpenConfig::default()).await?;
        if let Some(imported) = import(&mirror, &tree.settings.root).await? {
            found = Some((text.split('?').next().unwrap_or(text).to_owned(), imported));
            break;
        }
    }
    let Some((from, imported)) = found else {
        return Err(
            Error::Nothing { what: "no mirror holds anything".into(), hint: "check --from".into() }.into()
        );
    };
    tree.settings.origin = Some(format!("rclone-mirror {from}"));
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds::default()));
    let settings = tree.settings.clone();
    let mut writer = Writer::begin(settings, store.clone(), clock, ids, None, None, Steps::default()).await?;
    let done = writer.snapshot(|_| {}).await?;
    let Some(head) = done.head else {
        return Err(refused(
            "the mirror holds nothing that belongs into a tree".into(),
            "check --from and --exclude",
        ));
    };
    // Read back at once: until it is proven nobody should trust it.
    let proven = verify(&store, Some(head.number), None).await?;
    record(&store, &proven, "verify", &SystemClock).await?;
    let root = &tree.settings.root;
    // The field names are an interface.
    let document = serde_json::json!({
        "from": from, "directory": root, "snapshot": head.number, "entries": head.entries, "imported": imported,
    });
    door::print(args.output, &document, |_| {
        let (files, bytes) = (imported.files, imported.bytes);
        let mut text = format!("read {files} files ({bytes} bytes) from {from} into {}\n", root.display());
        if imported.sqlite > 0 {
            text += &format!(
                "{} SQLite files were left out: copies of a live database are torn; wal-streamer keeps the database itself\n",
                imported.sqlite
            );
        }
        if imported.left_out > 0 {
            text += &format!("{} other files of the old loop were left out\n", imported.left_out);
        }
        text + &format!("committed and read back as snapshot {}; the mirror was not changed", head.number)
    });
    Ok(Exit::Done)
}

fn refused(what: String, hint: &str) -> anyhow::Error {
    Error::Refused { what, hint: hint.into() }.into()
}
