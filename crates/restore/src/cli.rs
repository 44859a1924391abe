//! The command line of `restore`.

use crate::etcd::Etcd;
use crate::values::{Depth, txid};
use clap::{Args, Parser, Subcommand, ValueEnum};
use door::{Logs, Output, Paper, duration, moment};
use file_replica::restore::Policy;
use ltx::Txid;
use std::path::PathBuf;
use std::time::Duration;
use store::StoreUrl;

const EXAMPLES: &str = "\
Examples:
  restore list   's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000'
  restore sqlite 's3://backups/vaultwarden?endpoint=http://127.0.0.1:9000' -o /data/db.sqlite3
  restore sqlite s3://backups/vaultwarden -o yesterday.db --timestamp 2026-11-20T14:05:00Z
  restore files  s3://backups/vaultwarden/files -o /data --path 'config/*.yaml'
  restore verify s3://backups/vaultwarden --full
  restore sqlite s3://backups/sealed/vaultwarden -o db.sqlite3 --identity key.txt
  restore etcd   s3://backups/etcd -o snapshot.db --identity key.txt
  restore verify s3://backups/etcd --cluster prod --all --identity key.txt

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from files in /highwater/credentials.
Exit codes: 0 done, 1 failed (retry may help), 2 usage, 3 refused or nothing there to restore (nothing changed),
4 replica damaged (the message says what is provable), 5 fenced, or somebody works on the same data.";

const INIT_EXAMPLES: &str = "\
Examples:
  restore init                                  # in a pod: everything its annotations declare
  restore init --config protect.yaml            # by hand, with a description
  restore init --config protect.yaml --dry-run  # what it would do, and why

Exit codes: 0 all is in place, 1 the store cannot be asked (retry), 2 configuration, 3 a person has to decide,
4 replica damaged, 5 the volume is in use.";

/// Restores databases from their replicas, written by wal-streamer or Litestream, files from those of config-syncer, and etcd from its
/// snapshots.
#[derive(Parser)]
#[command(name = "restore", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logs: Logs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Bring everything a pod declares into place, before its application starts
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Restore one SQLite database
    #[command(after_help = EXAMPLES)]
    Sqlite(Sqlite),
    /// Restore a directory that config-syncer keeps, or parts of it
    #[command(after_help = EXAMPLES)]
    Files(crate::files::Files),
    /// Bring back an etcd snapshot as the file that etcd's own tools take, and say what to do with it
    #[command(after_help = EXAMPLES)]
    Etcd(Etcd),
    /// Show every point that can be restored
    #[command(after_help = EXAMPLES)]
    List(List),
    /// Read a replica as a restore would, and say what is damaged and what is provable
    #[command(after_help = EXAMPLES)]
    Verify(Verify),
    /// Restore the newest and an older point into a scratch directory, check both, and record the result
    #[command(after_help = EXAMPLES)]
    Drill(Drill),
    /// Take over the writer's claim: whoever held it stops writing
    #[command(after_help = EXAMPLES)]
    Unlock(Unlock),
    #[command(flatten)]
    Paper(Paper),
}

#[derive(Args)]
pub(crate) struct Init {
    /// Description of what is protected (YAML) [default: $HIGHWATER_CONFIG, else /etc/highwater/protect.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Pod annotations as the downward API writes them [default: /highwater/podinfo/annotations, if there]
    #[arg(long, value_name = "FILE")]
    pub(crate) annotations: Option<PathBuf>,
    /// Domain of the annotations
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) annotation_domain: Option<String>,
    /// Directory that the containers of the pod share; restored.json goes there
    #[arg(long, value_name = "DIR", env = "HIGHWATER_RUN_DIR", default_value = protect::handover::RUN_DIR)]
    pub(crate) run_dir: PathBuf,
    /// How long a store that cannot be asked is asked again, where the description says nothing
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) patience: Duration,
    /// Databases and directories brought into place side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) parallelism: u8,
    /// A directory whose files and replica may each hold what the other lacks: leave the choice to a person, keep the files, or
    /// restore over them (what is replaced is moved aside); a database is always left to a person
    #[arg(long, value_enum, default_value_t = OnConflict::Refuse)]
    pub(crate) on_conflict: OnConflict,
    /// Age identity that opens a sealed replica; needed where data has to come back, and may be missing otherwise
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Say what would be done and why; claim, change and download nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnConflict {
    /// End with exit code 3
    Refuse,
    /// Go on from the files
    Keep,
    /// Go on from the replica
    Restore,
}

impl From<OnConflict> for Policy {
    fn from(word: OnConflict) -> Policy {
        match word {
            OnConflict::Refuse => Policy::Refuse,
            OnConflict::Keep => Policy::AdoptLocal,
            OnConflict::Restore => Policy::RestoreOver,
        }
    }
}

#[derive(Args)]
pub(crate) struct Sqlite {
    /// The replica
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
    /// Where the chain is damaged: the newest provable point before the damage
    #[arg(long)]
    pub(crate) latest_valid: bool,
    /// Do nothing if the output exists
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Do nothing if the replica provably holds nothing
    #[arg(long)]
    pub(crate) if_replica_exists: bool,
    /// Replace an existing output without asking
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the plan with bytes and requests, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How deeply SQLite checks the result before it gets its name
    #[arg(long, value_enum, default_value_t = Depth::Quick)]
    pub(crate) integrity: Depth,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) parallelism: u8,
    /// Keep the copy up with the replica; other processes may read it (open it read-only)
    #[arg(long, conflicts_with_all = ["txid", "timestamp", "dry_run", "if_not_exists", "if_replica_exists"])]
    pub(crate) follow: bool,
    /// How often `--follow` looks for new commits: one listing each
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, requires = "follow")]
    pub(crate) interval: Duration,
    /// Age identity that opens a sealed replica, or Litestream 0.3 generations encrypted with age
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) format: Output,
}

#[derive(Args)]
pub(crate) struct List {
    /// The replica
    pub(crate) url: StoreUrl,
    /// Of etcd snapshots: which cluster; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Of a database: show the time of commit instead of the time of arrival in the store, one small request per point
    #[arg(long)]
    pub(crate) exact: bool,
    /// How the points are printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The replica
    pub(crate) url: StoreUrl,
    /// Of etcd snapshots: which cluster; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Read every object, not only those of the newest point
    #[arg(long)]
    pub(crate) all: bool,
    /// Restore the newest point into the scratch directory as well; of a database, run SQLite's integrity_check on it
    #[arg(long)]
    pub(crate) full: bool,
    /// Note in the replica up to where it is proven (highwater/proven.json; of etcd a proof beside each snapshot too); retention never
    /// crosses that
    #[arg(long)]
    pub(crate) record: bool,
    /// Age identity that opens a sealed replica; without one its objects are counted and compared, not opened
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Where temporary files go
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
    /// Requests in flight (of etcd: one, since a snapshot is one object)
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) parallelism: u8,
    /// How the result is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Drill {
    /// The replica
    pub(crate) url: StoreUrl,
    /// Of etcd snapshots: which cluster; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Where the restored data goes, and is removed from again
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(crate) scratch: PathBuf,
    /// Of a database: a query on the newest state; it has to give at least one row whose first value is not 0, empty or NULL
    #[arg(long, value_name = "QUERY")]
    pub(crate) sql: Option<String>,
    /// A shell command that has to end with 0; $HIGHWATER_DRILL_DB is the newest restored database, $HIGHWATER_DRILL_DIR the newest restored directory
    #[arg(long, value_name = "COMMAND")]
    pub(crate) command: Option<String>,
    /// Age identity that opens a sealed replica
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Of etcd snapshots: where etcd and etcdutl are [default: the path]
    #[arg(long, value_name = "DIR")]
    pub(crate) etcd_dir: Option<PathBuf>,
    /// Do not write highwater/drill.json and highwater/proven.json (of etcd: nor the proof beside each snapshot)
    #[arg(long)]
    pub(crate) no_record: bool,
    /// Write metrics here, in the format of Prometheus' textfile collector
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Requests in flight (of etcd: one, since a snapshot is one object)
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) parallelism: u8,
    /// How the result is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Unlock {
    /// The replica
    pub(crate) url: StoreUrl,
    /// Do not ask
    #[arg(long)]
    pub(crate) force: bool,
    /// How the result is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}
