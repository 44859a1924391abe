//! The command line of `wal-streamer`.

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use telemetry::LogFormat;

const EXAMPLES: &str = "\
Examples:
  wal-streamer replicate /data/db.sqlite3 's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000'
  wal-streamer replicate /data/db.sqlite3 file:///mnt/nas/vaultwarden
  wal-streamer replicate --once /data/db.sqlite3 s3://backups/vaultwarden

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from files in /highwater/credentials.
Exit codes: 0 done, 1 failed (retry may help), 2 usage, 3 refused by a guard, 4 replica damaged,
5 fenced by another writer or a second process on the same database, 6 stopped before all was durable.";

/// Streams every committed SQLite transaction to an object store.
#[derive(Parser)]
#[command(name = "wal-streamer", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// How log lines look [default: text on a terminal, json elsewhere]
    #[arg(long, global = true, value_name = "text|json")]
    pub(crate) log_format: Option<LogFormat>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Follow databases and ship their commits until stopped
    #[command(after_help = EXAMPLES)]
    Replicate(Replicate),
    /// Print shell completions
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub(crate) struct Replicate {
    /// Pairs of a database file and the URL of its replica; without any, the description is read
    #[arg(value_name = "DB URL")]
    pub(crate) pairs: Vec<String>,
    /// Description of what is protected (YAML) [default: $HIGHWATER_CONFIG, else /etc/highwater/protect.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Cluster the claim is made for
    #[arg(long, env = "HIGHWATER_CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// Application the claim is made for
    #[arg(long, env = "HIGHWATER_APP")]
    pub(crate) app: Option<String>,
    /// At most one upload per database in this time; the first commit after a pause goes at once
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) sync_interval: Duration,
    /// How long a stop may take to make the rest durable
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) drain: Duration,
    /// Continue a replica that this volume cannot prove to be its own, by a full image under a new epoch
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Make everything durable, then exit
    #[arg(long)]
    pub(crate) once: bool,
    /// Convert a database in rollback-journal mode to WAL instead of refusing it
    #[arg(long)]
    pub(crate) convert_to_wal: bool,
    /// Serve /metrics, /startz, /livez, /readyz, /status and a status page here
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e} (for example 500ms, 1s, 5m)"))
}

pub(crate) fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "wal-streamer", &mut std::io::stdout());
}
