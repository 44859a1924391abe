//! The command line of `config-syncer`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use door::{Logs, Output, Paper, duration};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  config-syncer watch /data 's3://backups/myapp/files?endpoint=http://127.0.0.1:9000' --exclude '*.log'
  config-syncer snapshot /data file:///mnt/nas/myapp/files
  config-syncer list s3://backups/myapp/files
  config-syncer diff s3://backups/myapp/files 41 42
  config-syncer export s3://backups/myapp/files --to tar -o myapp.tar
  config-syncer import --from s3://backups/myapp/config /data s3://backups/myapp/files

Without DIR and URL the description is read: --config, else $HIGHWATER_CONFIG, else /etc/highwater/protect.yaml, and
the annotations of the pod. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from files in
/highwater/credentials.
Exit codes: 0 done, 1 failed (retry may help), 2 usage, 3 refused by a guard or nothing there (nothing changed),
4 replica damaged, 5 fenced by another writer or a second process on the same tree, 6 done in part (a file kept an
earlier version, or stopped before all was stored).";

/// Keeps a directory of configuration safe: snapshots in an object store, ten seconds after it went quiet.
#[derive(Parser)]
#[command(name = "config-syncer", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logs: Logs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Follow directories and commit a snapshot whenever they went quiet (the sidecar)
    #[command(after_help = EXAMPLES)]
    Watch(Watch),
    /// Commit one snapshot of each directory now
    #[command(after_help = EXAMPLES)]
    Snapshot(Snapshot),
    /// Show each replica's newest snapshot, proof and size
    #[command(after_help = EXAMPLES)]
    Status(Read),
    /// Show every snapshot
    #[command(after_help = EXAMPLES)]
    List(Read),
    /// Show what changed between two snapshots
    #[command(after_help = EXAMPLES)]
    Diff(Diff),
    /// Write a snapshot as a directory, a tar archive or an rclone mirror
    #[command(after_help = EXAMPLES)]
    Export(Export),
    /// Read an rclone mirror into an empty directory and commit it as the first snapshot; the mirror is never written
    #[command(after_help = EXAMPLES)]
    Import(Import),
    /// Plan what retention deletes, or delete it
    #[command(after_help = EXAMPLES)]
    Prune(Prune),
    /// Try everything a sidecar needs: directory, store, credentials, clock, replica
    #[command(after_help = EXAMPLES)]
    Check(Check),
    #[command(flatten)]
    Paper(Paper),
}

/// Which trees, and how they are written.
#[derive(Args, Clone)]
pub(crate) struct Trees {
    /// A directory and the URL of its replica; without both, the description is read
    #[arg(value_name = "DIR URL", num_args = 0..=2)]
    pub(crate) pair: Vec<String>,
    /// Description of what is protected (YAML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The pod's annotations
    #[arg(long, value_name = "FILE")]
    pub(crate) annotations: Option<PathBuf>,
    /// Prefix of the pod's annotations
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) annotation_domain: Option<String>,
    /// Cluster the claim is made for
    #[arg(long, env = "HIGHWATER_CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// Application the claim is made for
    #[arg(long, env = "HIGHWATER_APP")]
    pub(crate) app: Option<String>,
    /// Leave out what matches (gitignore syntax); SQLite databases are always left out
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Seal for this age recipient; repeat for more
    #[arg(long, value_name = "AGE")]
    pub(crate) recipient: Vec<String>,
    /// Commit nothing while this path is not there; repeat for more
    #[arg(long, value_name = "PATH")]
    pub(crate) must_exist: Vec<String>,
    /// Continue a replica that this directory cannot prove to descend from
    #[arg(long)]
    pub(crate) adopt: bool,
}

#[derive(Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) trees: Trees,
    /// Quiet time before a snapshot [default: the description's, else 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) debounce: Option<Duration>,
    /// Longest wait while changes go on
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) max_wait: Duration,
    /// How often the newest snapshot is read back and checksummed; 0 for never
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub(crate) verify_every: Duration,
    /// How often retention runs; 0 for never
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub(crate) prune_every: Duration,
    /// How long a stop may take to store the rest
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) drain: Duration,
    /// Serve /metrics, /startz, /livez, /readyz, /status and a status page here
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:9091")]
    pub(crate) listen: SocketAddr,
    /// Scratch directory that the containers of the pod share
    #[arg(long, value_name = "DIR", env = "HIGHWATER_RUN_DIR", default_value = protect::handover::RUN_DIR)]
    pub(crate) run_dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct Snapshot {
    #[command(flatten)]
    pub(crate) trees: Trees,
    /// Allow exactly this refused plan, once; a running watcher of the same directory takes it over
    #[arg(long, value_name = "PLAN")]
    pub(crate) allow: Option<String>,
    /// Secret key file, to continue a sealed replica whose state on the volume is lost without sending everything
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Read {
    /// The replica; without it, those of the description
    pub(crate) url: Option<String>,
    /// Description of what is protected (YAML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Diff {
    /// The replica
    pub(crate) url: String,
    /// Number of the older snapshot
    pub(crate) a: u64,
    /// Number of the newer snapshot
    pub(crate) b: u64,
    /// Secret key file, for a sealed replica
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Export {
    /// The replica
    pub(crate) url: String,
    /// What is written
    #[arg(long, value_enum)]
    pub(crate) to: Form,
    /// A directory (dir), a file or - (tar), or the URL of an empty place (mirror)
    #[arg(short = 'o', long = "output", value_name = "PLACE")]
    pub(crate) place: String,
    /// This snapshot instead of the newest
    #[arg(long, value_name = "N")]
    pub(crate) snapshot: Option<u64>,
    /// Secret key file, for a sealed replica
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) trees: Trees,
    /// The mirror; repeat for other places where it may be, the first that holds anything is read
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) from: Vec<String>,
    /// Path of the directory in the description of the pod that goes on from it, for the claim [default: as snapshot claims]
    #[arg(long, value_name = "PATH")]
    pub(crate) tree: Option<String>,
    /// How the result is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Prune {
    /// The replica; without it, those of the description
    pub(crate) url: Option<String>,
    /// Description of what is protected (YAML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What is kept [default: the description's, else all=7d]
    #[arg(long, value_name = "all=7d,hourly=24,daily=7")]
    pub(crate) keep: Option<String>,
    /// Delete; otherwise the plan is printed
    #[arg(long)]
    pub(crate) apply: bool,
    /// How the plan is printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) trees: Trees,
    /// How the findings are printed
    #[arg(short, long = "output", value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A directory with everything restored
    Dir,
    /// One tar archive
    Tar,
    /// One object per file below a URL, as rclone writes and reads them
    Mirror,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
