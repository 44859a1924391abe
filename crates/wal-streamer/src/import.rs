//! `wal-streamer import-config`: Litestream's configuration as ours.

use crate::cli::ImportConfig;
use door::{Failure, print};
use protect::litestream::{Options, import};
use std::path::PathBuf;
use telemetry::Exit;

pub(crate) fn run(args: ImportConfig) -> Result<Exit, Failure> {
    let source = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::usage(format!("cannot read {source}: {error}")))?;
    let base = std::env::current_dir()
        .map_err(|error| Failure::new(Exit::Failed, format!("no current directory: {error}")))?;
    let options = Options {
        app: args.app,
        base,
        home: std::env::var_os("HOME").map(PathBuf::from),
        variables: (!args.no_expand_env).then_some(|name| std::env::var(name).ok()),
    };
    let import = import(&text, &source, &options).map_err(Failure::usage)?;
    print(args.output, &import, |import| import.yaml.clone());
    if import.complete {
        return Ok(Exit::Done);
    }
    eprintln!(
        "wal-streamer: {source}: something has to be decided by hand; see `To be decided` in the translation"
    );
    Ok(Exit::Partial)
}
