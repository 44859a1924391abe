//! `config-syncer snapshot`: one look at each tree, now.

use crate::cli::Snapshot;
use crate::trees::{identities, resolve};
use anyhow::Result;
use clock::{SystemClock, SystemIds};
use door::Output;
use file_replica::{Committed, Error, Home, Steps, Writer};
use std::sync::Arc;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: Snapshot) -> Result<Exit> {
    let resolved = resolve(&args.trees)?;
    let identities = identities(args.identity.as_deref())?;
    let mut exit = Exit::Done;
    for tree in resolved.trees {
        let (root, name) = (tree.settings.root.clone(), tree.name.clone());
        if let Some(plan) = &args.allow {
            Home::of(&root).allow(plan)?;
        }
        let store = tree.place.open(OpenConfig::default()).await?;
        let begun = Writer::begin(
            tree.settings,
            store,
            Arc::new(SystemClock),
            Arc::new(SystemIds::default()),
            None,
            identities.as_deref(),
            Steps::default(),
        )
        .await;
        let mut writer = match begun {
            // The watcher that holds the tree was told by the override itself.
            Err(error @ Error::Fenced { .. }) if args.allow.is_some() && !is_foreign(&error) => {
                println!(
                    "{name}: allowed; the process that works on {} takes it over at its next look",
                    root.display()
                );
                continue;
            }
            other => other?,
        };
        let done = writer.snapshot(|_| {}).await?;
        print(&name, &done, args.output);
        if done.unstable > 0 {
            exit = Exit::Partial;
        }
    }
    Ok(exit)
}

/// Told apart by where it was found: on the volume, not in the store.
fn is_foreign(error: &Error) -> bool {
    !error.to_string().contains("another process works on")
}

fn print(name: &str, done: &Committed, output: Output) {
    let number = done.head.as_ref().map(|h| h.number);
    let left_out = &done.left_out;
    // The field names are an interface.
    let document = serde_json::json!({
        "tree": name, "snapshot": number, "entries": done.tracked, "uploaded": done.uploaded,
        "deleted": done.deleted, "stored_bytes": done.stored_bytes, "unstable": done.unstable, "unreadable": done.unreadable,
        "left_out": { "sqlite": left_out.sqlite, "filtered": left_out.filtered,
                      "mounts": left_out.mounts, "special": left_out.special },
    });
    door::print(output, &document, |_| {
        let mut text = match number {
            None => format!("{name}: nothing has changed ({} entries)\n", done.tracked),
            Some(number) => format!(
                "{name}: snapshot {number}: {} entries, {} files sent, {} entries gone, {} bytes stored\n",
                done.tracked, done.uploaded, done.deleted, done.stored_bytes
            ),
        };
        if done.unstable > 0 {
            text += &format!(
                "{name}: {} files are not in it as they are: they change while they are read, or cannot be read\n",
                done.unstable
            );
        }
        text
    });
}
