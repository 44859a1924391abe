//! `config-syncer export`: a snapshot for people and other tools.

use crate::cli::{Export, Form};
use crate::trees::{identities, place};
use anyhow::{Context, Result};
use clock::SystemClock;
use file_replica::restore::{Options, Progress, RestorePlan, Want, restore};
use file_replica::{export_mirror, export_tar};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: Export) -> Result<Exit> {
    let store = place(None, &args.url)?.open(OpenConfig::default()).await?;
    let identities = identities(args.identity.as_deref())?;
    let want = args.snapshot.map_or(Want::Newest, Want::Number);
    let plan = RestorePlan::new(&store, want, &[], identities.as_deref()).await?;
    eprintln!("{plan}");
    match args.to {
        Form::Dir => {
            let progress = Arc::new(Progress::default());
            let target = Path::new(&args.place);
            restore(&store, &plan, target, identities, &Options::default(), &SystemClock, progress).await?;
        }
        Form::Mirror => {
            let (replica, target) = (place(None, &args.url)?, place(None, &args.place)?);
            anyhow::ensure!(!target.overlaps(&replica)?, "the mirror and the replica lie inside each other");
            let mirror = target.open(OpenConfig::default()).await?;
            let done = export_mirror(&store, &plan, identities, &mirror).await?;
            eprintln!("{} objects, {} bytes", done.objects, done.bytes);
            if done.left_out + done.lost_attributes > 0 {
                eprintln!(
                    "a mirror has no form for {} entries (empty directories, fifos) and for the attributes of {}",
                    done.left_out, done.lost_attributes
                );
            }
        }
        Form::Tar if args.place == "-" => {
            export_tar(&store, plan, identities, std::io::stdout())
                .await?
                .flush()
                .context("standard output")?;
        }
        Form::Tar => {
            let partial = format!("{}.partial", args.place);
            let file =
                BufWriter::new(File::create(&partial).with_context(|| format!("{partial}: cannot create"))?);
            let file = export_tar(&store, plan, identities, file).await?;
            let file = file
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .with_context(|| partial.clone())?;
            file.sync_all().with_context(|| partial.clone())?;
            std::fs::rename(&partial, &args.place).with_context(|| args.place.clone())?;
        }
    }
    Ok(Exit::Done)
}
