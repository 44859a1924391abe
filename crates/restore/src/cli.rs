//! The command line of `restore`.

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ltx::Txid;
use sqlite_replica::Integrity;
use std::path::PathBuf;
use store::StoreUrl;
use telemetry::LogFormat;

const EXAMPLES: &str = "\
Examples:
  restore list   's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000'
  restore sqlite 's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000' -o /data/db.sqlite3
  restore sqlite s3://backups/vaultwarden -o yesterday.db --timestamp 2026-11-20T14:05:00Z

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from files in /highwater/credentials.
Exit codes: 0 done, 1 failed (retry may help), 2 usage, 3 refused or nothing there to restore (nothing changed),
4 replica damaged (the message says what is provable).";

/// Restores databases from their replicas, written by wal-streamer or Litestream 0.5.
#[derive(Parser)]
#[command(name = "restore", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// How log lines look [default: text on a terminal, json elsewhere]
    #[arg(long, global = true, value_name = "text|json")]
    pub(crate) log_format: Option<LogFormat>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Restore one SQLite database
    #[command(after_help = EXAMPLES)]
    Sqlite(Sqlite),
    /// Show every point that can be restored
    #[command(after_help = EXAMPLES)]
    List(List),
    /// Print shell completions
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub(crate) struct Sqlite {
    /// The replica
    #[arg(value_parser = url)]
    pub(crate) url: StoreUrl,
    /// The database file to write
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// The newest state committed at or before this time
    #[arg(long, value_name = "RFC3339", value_parser = moment, conflicts_with = "txid")]
    pub(crate) timestamp: Option<clock::UnixMs>,
    /// Exactly the state of this TXID (16 hex digits, as `restore list` shows it)
    #[arg(long, value_name = "TXID", value_parser = txid)]
    pub(crate) txid: Option<Txid>,
    /// Do nothing if the output exists
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Do nothing if the replica provably holds nothing
    #[arg(long)]
    pub(crate) if_replica_exists: bool,
    /// Replace an existing output
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How deeply SQLite checks the result before it gets its name
    #[arg(long, value_enum, default_value_t = Depth::Quick)]
    pub(crate) integrity: Depth,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) parallelism: u8,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) format: Output,
}

#[derive(Args)]
pub(crate) struct List {
    /// The replica
    #[arg(value_parser = url)]
    pub(crate) url: StoreUrl,
    /// How the points are printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Depth {
    None,
    Quick,
    Full,
}

impl From<Depth> for Integrity {
    fn from(depth: Depth) -> Integrity {
        match depth {
            Depth::None => Integrity::None,
            Depth::Quick => Integrity::Quick,
            Depth::Full => Integrity::Full,
        }
    }
}

fn url(text: &str) -> Result<StoreUrl, String> {
    StoreUrl::parse(text).map_err(|e| e.to_string())
}

fn moment(text: &str) -> Result<clock::UnixMs, String> {
    clock::parse_unix_ms(text).ok_or_else(|| "not an RFC 3339 time, for example 2026-11-20T14:05:00Z".into())
}

fn txid(text: &str) -> Result<Txid, String> {
    text.parse().map_err(|_| "a TXID is 16 hex digits, as `restore list` shows it".into())
}

pub(crate) fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "restore", &mut std::io::stdout());
}
