//! The command line of `wal-streamer`.

use clap::{Args, Parser, Subcommand};
use door::{Logs, Output, Paper, duration};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  wal-streamer replicate /data/db.sqlite3 's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000'
  wal-streamer replicate --config protect.yaml
  wal-streamer check --config protect.yaml
  wal-streamer sync --wait --timeout 10s
  wal-streamer status -o json
  wal-streamer import-config /etc/litestream.yml > protect.yaml

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from files in /highwater/credentials.
Exit codes: 0 done, 1 failed (retry may help), 2 usage, 3 refused by a guard, 4 replica damaged,
5 fenced by another writer or a second process on the same database, 6 stopped before all was durable.";

const REPLICATE: &str = "\
Examples:
  wal-streamer replicate /data/db.sqlite3 's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000'
  wal-streamer replicate /data/db.sqlite3 file:///mnt/nas/vaultwarden
  wal-streamer replicate --once /data/db.sqlite3 s3://backups/vaultwarden
  wal-streamer replicate --config protect.yaml --max-upload-rate 2MiB
  wal-streamer replicate --recipient age1... /data/db.sqlite3 s3://backups/sealed/vaultwarden

In a pod (an annotations file is there) it touches neither database nor store before `restore init` has left
restored.json in the run directory, listens on 0.0.0.0:9090, and keeps running, unready, when it is fenced.";

const SYNC: &str = "\
Examples:
  wal-streamer sync                          (preStop hook: asks and returns at once)
  wal-streamer sync --wait --timeout 10s     (script: everything committed before is in the store)
  wal-streamer sync --wait db.sqlite3 -o json

Exit codes: 0 durable (or asked, without --wait), 1 no process answers, 2 no such database, 3 refused, 5 fenced,
6 not durable in time.";

const STATUS: &str = "\
Examples:
  wal-streamer status
  wal-streamer status -o json --socket /highwater/run/wal-streamer.sock";

const SNAPSHOT: &str = "\
Examples:
  wal-streamer snapshot                (a full image of every database, soon)
  wal-streamer snapshot db.sqlite3

It returns once the writer has understood. The result is in the log, in `status` (last_snapshot) and in
highwater_snapshot_last_success_timestamp_seconds.";

const PRUNE: &str = "\
Examples:
  wal-streamer prune --config protect.yaml                       (the plan; nothing is deleted)
  wal-streamer prune --config protect.yaml --apply
  wal-streamer prune s3://backups/vaultwarden --keep all=7d,daily=7,weekly=4

Nothing beyond the newest proven restore point is deleted, and not more than 1,000 objects per replica and run.
Exit codes: 0 planned or deleted, 1 failed (retry may help), 2 usage, 6 the store would not delete some of it.";

const CHECK: &str = "\
Examples:
  wal-streamer check --config protect.yaml
  wal-streamer check /data/db.sqlite3 's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000' -o json

One line per finding. The exit code is that of the worst one; warnings do not change it.";

const IMPORT: &str = "\
Examples:
  wal-streamer import-config /etc/litestream.yml > protect.yaml
  wal-streamer import-config litestream.yml --app vaultwarden -o json

Exit codes: 0 translated, 2 the file is wrong, 6 translated but for what is listed under `To be decided`.";

/// Streams every committed SQLite transaction to an object store.
#[derive(Parser)]
#[command(name = "wal-streamer", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logs: Logs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Follow databases and ship their commits until stopped
    #[command(after_help = REPLICATE)]
    Replicate(Box<Replicate>),
    /// Make everything committed before now durable, through the running process
    #[command(after_help = SYNC)]
    Sync(Sync),
    /// Show every database of the running process and how it stands
    #[command(after_help = STATUS)]
    Status(Status),
    /// Take a full image of the databases of the running process, soon
    #[command(after_help = SNAPSHOT)]
    Snapshot(Snapshot),
    /// Show what retention would delete, or delete it
    #[command(after_help = PRUNE)]
    Prune(Prune),
    /// Look at store, credentials, volume and clock, and say what would not work
    #[command(after_help = CHECK)]
    Check(Check),
    /// Translate a configuration file of Litestream (0.3 or 0.5)
    #[command(after_help = IMPORT)]
    ImportConfig(ImportConfig),
    #[command(flatten)]
    Paper(Paper),
}

/// Which databases, and where they go.
#[derive(Args)]
pub(crate) struct Selection {
    /// Pairs of a database file and the URL of its replica; without any, the description is read
    #[arg(value_name = "DB URL")]
    pub(crate) pairs: Vec<String>,
    /// Description of what is protected (YAML) [default: $HIGHWATER_CONFIG, else /etc/highwater/protect.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The pod's annotations as the downward API writes them [default: $HIGHWATER_ANNOTATIONS, else
    /// /highwater/podinfo/annotations]
    #[arg(long, value_name = "FILE")]
    pub(crate) annotations: Option<PathBuf>,
    /// Domain of our annotations [default: highwater.dev]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) annotation_domain: Option<String>,
    /// Cluster the claim is made for
    #[arg(long, env = "HIGHWATER_CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// Application the claim is made for
    #[arg(long, env = "HIGHWATER_APP")]
    pub(crate) app: Option<String>,
    /// Seal for this recipient (age1…, ssh-ed25519 …, ssh-rsa …); repeat for more
    #[arg(long, value_name = "AGE")]
    pub(crate) recipient: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Replicate {
    #[command(flatten)]
    pub(crate) selection: Selection,
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
    /// Upload no faster than this per second, all databases together, e.g. 500KiB or 2MiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_upload_rate: Option<u64>,
    /// Serve /metrics, /startz, /livez, /readyz, /status and a status page here
    /// [default: 0.0.0.0:9090 in a pod, 127.0.0.1:9090 by hand if it is free]
    #[arg(long, value_name = "ADDR:PORT|off")]
    pub(crate) listen: Option<Switch<SocketAddr>>,
    /// Control socket, for sync and status [default: wal-streamer.sock in the run directory of a pod, in .highwater/ beside
    /// the first database by hand]
    #[arg(long, value_name = "PATH|off")]
    pub(crate) socket: Option<Switch<PathBuf>>,
    /// Directory that the containers of a pod share
    #[arg(long, value_name = "DIR", env = "HIGHWATER_RUN_DIR", default_value = protect::handover::RUN_DIR)]
    pub(crate) run_dir: PathBuf,
    /// How often the volume's fdatasync is timed with 4 KiB
    #[arg(long, value_name = "DURATION|off", default_value = "30s")]
    pub(crate) fsync_probe: Switch<Span>,
    /// How often one small request shows that the credentials still work while nothing is written
    #[arg(long, value_name = "DURATION|off", default_value = "5m")]
    pub(crate) probe_interval: Switch<Span>,
    /// A start in a pod waits a random time up to this before it asks the store, so that a whole cluster does not at once
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) start_jitter: Duration,
    /// /livez fails when commits wait and nothing is tried for them for this long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) stall_after: Duration,
    /// Export Litestream's metric names too, with our stricter meaning
    #[arg(long)]
    pub(crate) litestream_metrics: bool,
}

#[derive(Args)]
pub(crate) struct Sync {
    /// One database, by its name or path; without it all
    pub(crate) database: Option<String>,
    /// Return when it is done instead of at once
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Args)]
pub(crate) struct Status {
    /// One database, by its name or path; without it all
    pub(crate) database: Option<String>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Args)]
pub(crate) struct Snapshot {
    /// One database, by its name or path; without it all
    pub(crate) database: Option<String>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

#[derive(Args)]
pub(crate) struct Prune {
    /// One replica; without it those of the description
    pub(crate) url: Option<String>,
    /// What to keep of it, e.g. all=7d,hourly=24,daily=7,weekly=4,monthly=0
    #[arg(long, value_name = "RULES")]
    pub(crate) keep: Option<String>,
    /// Description of what is protected (YAML) [default: $HIGHWATER_CONFIG, else /etc/highwater/protect.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The pod's annotations as the downward API writes them
    #[arg(long, value_name = "FILE")]
    pub(crate) annotations: Option<PathBuf>,
    /// Domain of our annotations [default: highwater.dev]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) annotation_domain: Option<String>,
    /// Delete what the plan names
    #[arg(long)]
    pub(crate) apply: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

impl Prune {
    /// The description it is about.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            pairs: Vec::new(),
            config: self.config.clone(),
            annotations: self.annotations.clone(),
            annotation_domain: self.annotation_domain.clone(),
            cluster: None,
            app: None,
            recipient: Vec::new(),
        }
    }
}

/// How to reach the running process.
#[derive(Args)]
pub(crate) struct Ask {
    /// Its control socket [default: /highwater/run/wal-streamer.sock, else .highwater/wal-streamer.sock beside the
    /// database, else in the current directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How the answer is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// How the findings are printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct ImportConfig {
    /// The file to translate
    pub(crate) file: PathBuf,
    /// Name of the application; part of the claim
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Leave $VAR and ${VAR} as they stand
    #[arg(long)]
    pub(crate) no_expand_env: bool,
    /// How it is printed: the YAML with comments, or one document with every key
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// Something that can be switched off.
#[derive(Debug, Clone)]
pub(crate) enum Switch<T> {
    Off,
    On(T),
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Switch<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Switch::Off),
            text => text.parse().map(Switch::On).map_err(|e| format!("{e} (or off)")),
        }
    }
}

/// A duration on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text).map(Span)
    }
}

/// Bytes with a unit of 1,024 or 1,000.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" | "K" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" | "M" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" | "G" => 1 << 30,
        _ => 0,
    };
    let number: u64 = text[..digits].parse().unwrap_or(0);
    match number.checked_mul(factor) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("not a number of bytes (for example 500KiB, 2MiB)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_have_units() {
        assert_eq!((bytes("500KiB"), bytes("2MiB"), bytes("7")), (Ok(512_000), Ok(2 << 20), Ok(7)));
        for wrong in ["", "fast", "0", "1 parsec", "-1", "99999999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
