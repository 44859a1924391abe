//! The command line of `etcd-shipper`.

use crate::destination::To;
use crate::gateway::Place;
use clap::{Args, Parser, Subcommand};
use door::{Logs, Output, Paper, duration, moment};
use std::path::PathBuf;
use std::time::Duration;
use store::StoreUrl;

const EXAMPLES: &str = "\
Examples:
  etcd-shipper ship --cluster prod --endpoints https://127.0.0.1:2379 --cacert ca.crt --cert client.crt --key client.key \\
      --spool-dir /spool --recipient age1... --to 's3://backups/etcd?endpoint=https://minio.example'
  etcd-shipper ship --cluster home --talosconfig /var/run/secrets/talos.dev/config --spool-dir /spool --recipient age1... --to file:///mnt/nas/etcd
  etcd-shipper list   's3://backups/etcd' --cluster prod
  etcd-shipper prune  's3://backups/etcd' --cluster prod            (shows the plan; --apply executes it)
  etcd-shipper drill  's3://backups/etcd' --cluster prod --identity key.txt --work-dir /scratch

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or from files in /highwater/credentials.
Exit codes: 0 done, 1 failed (retry may help), 2 usage, 3 refused or nothing there (nothing changed),
4 a snapshot or stored object is damaged, 5 another process does the same, 6 only some destinations were reached.";

/// Takes etcd snapshots of K3s, kubeadm and Talos clusters, proves, seals, ships, keeps and drills them.
#[derive(Parser)]
#[command(name = "etcd-shipper", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logs: Logs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Take one snapshot, prove it, ship it, and apply retention
    #[command(after_help = EXAMPLES)]
    Ship(Box<Ship>),
    /// Show the snapshots of a cluster and what is proven about them
    List(List),
    /// Read snapshots back and prove them again, from outside the cluster
    Verify(Verify),
    /// Show what retention would delete, or delete it with --apply
    Prune(Prune),
    /// Restore the newest and one random older snapshot into a real etcd and compare
    Drill(Drill),
    /// Export what is in the bucket as metrics, for all kinds of replicas
    Serve(Serve),
    /// Say which file, port, role, permission or clock is wrong
    Doctor(Box<Doctor>),
    #[command(flatten)]
    Paper(Paper),
}

#[derive(Args)]
pub(crate) struct From {
    /// etcd endpoints, repeated or separated by commas; the other members are found through them
    #[arg(long, value_delimiter = ',', value_name = "URL")]
    pub(crate) endpoints: Vec<String>,
    /// Authority of the members' certificates
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    pub(crate) cacert: Option<PathBuf>,
    /// Client certificate
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    pub(crate) key: Option<PathBuf>,
    /// Talos: the talosconfig of a ServiceAccount with the role os:etcd:backup; read at every run
    #[arg(long, value_name = "FILE", conflicts_with = "endpoints")]
    pub(crate) talosconfig: Option<PathBuf>,
    /// Adopt a snapshot that exists already, a K3s .zip included
    #[arg(long, value_name = "FILE", conflicts_with_all = ["endpoints", "talosconfig"])]
    pub(crate) file: Option<PathBuf>,
    /// When that file was taken, where its name does not say
    #[arg(long, value_name = "RFC3339", requires = "file", value_parser = moment)]
    pub(crate) taken_at: Option<clock::UnixMs>,
    /// Give up when no byte arrives for this long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) idle_timeout: Duration,
    /// Give up a snapshot stream after this long; etcd cannot reuse pages meanwhile
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) max_stream: Duration,
}

#[derive(Args)]
pub(crate) struct Keep {
    /// Keep everything this long
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub(crate) keep_all: Duration,
    /// Keep the first of each UTC day this long
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    pub(crate) keep_daily: Duration,
    /// Never delete anything
    #[arg(long)]
    pub(crate) keep_forever: bool,
    /// Deletions of one run at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) max_deletes: usize,
    /// Accept a policy that keeps less than the one before, by its hash
    #[arg(long, value_name = "HASH")]
    pub(crate) accept_policy: Option<String>,
    /// How often snapshots are taken; feeds the gap guard and the alerts
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) interval: Duration,
}

#[derive(Args)]
pub(crate) struct Ship {
    #[command(flatten)]
    pub(crate) from: From,
    /// Name of the cluster, part of every key
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    /// Destination, repeatable; each may carry its own keep-all and keep-daily: s3://b/p?keep-all=30d&keep-daily=0
    #[arg(long = "to", value_name = "URL", required = true)]
    pub(crate) to: Vec<To>,
    /// Seal for this age or SSH public key, repeatable; use two: one is kept elsewhere
    #[arg(long, value_name = "AGE")]
    pub(crate) recipient: Vec<String>,
    /// Seal for the public keys in this file, one per line
    #[arg(long, value_name = "FILE")]
    pub(crate) recipients_file: Option<PathBuf>,
    /// Store in the clear; a snapshot holds every Secret of the cluster
    #[arg(long)]
    pub(crate) unencrypted: bool,
    /// Disk-backed directory for the snapshot while it is proven and shipped
    #[arg(long, value_name = "DIR")]
    pub(crate) spool_dir: PathBuf,
    /// K3s server token, shipped sealed beside the snapshot and proven to open it
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keep: Keep,
    /// Leave retention to somebody else
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// Write the metrics of this run for node_exporter's textfile collector
    #[arg(long, value_name = "FILE")]
    pub(crate) textfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) push: Push,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Args, Default)]
pub(crate) struct Push {
    /// Push the metrics of this run, a failed one too, to a Pushgateway: http://HOST:PORT or https://HOST
    #[arg(long, value_name = "URL")]
    pub(crate) pushgateway: Option<Place>,
    /// Authority of the Pushgateway's certificate [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "pushgateway")]
    pub(crate) pushgateway_ca: Option<PathBuf>,
    /// File with the name for the Pushgateway
    #[arg(long, value_name = "FILE", requires_all = ["pushgateway", "pushgateway_password_file"])]
    pub(crate) pushgateway_username_file: Option<PathBuf>,
    /// File with the password for the Pushgateway; sent by https only
    #[arg(long, value_name = "FILE", requires = "pushgateway_username_file")]
    pub(crate) pushgateway_password_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Which {
    /// Where the snapshots are
    pub(crate) url: StoreUrl,
    /// Which cluster; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) which: Which,
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Opens sealed snapshots; without it only the stored bytes are compared
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Verify all snapshots, not only the newest
    #[arg(long)]
    pub(crate) all: bool,
    /// Disk-backed directory for the snapshot while it is read
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub(crate) spool_dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) keep: Keep,
    /// Delete what the plan says
    #[arg(long)]
    pub(crate) apply: bool,
    /// Accept that only so many snapshots are left, where retention saw more before: the others were removed on purpose
    #[arg(long, value_name = "N")]
    pub(crate) accept_fewer: Option<usize>,
    /// Delete only if the plan is still exactly the one with this hash
    #[arg(long, value_name = "HASH", requires = "apply")]
    pub(crate) plan_hash: Option<String>,
}

#[derive(Args)]
pub(crate) struct Drill {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Opens sealed snapshots
    #[arg(long, value_name = "FILE", env = "HIGHWATER_IDENTITY_FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Where etcd and etcdutl are [default: the path]
    #[arg(long, value_name = "DIR")]
    pub(crate) etcd_dir: Option<PathBuf>,
    /// Scratch space for three times a snapshot; the restored cluster lies there in the clear until the drill ends
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub(crate) work_dir: PathBuf,
    /// Only the newest
    #[arg(long)]
    pub(crate) newest_only: bool,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Where replicas are, repeatable; everything below is exported
    #[arg(required = true)]
    pub(crate) urls: Vec<StoreUrl>,
    /// Address to serve on
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:9092")]
    pub(crate) listen: std::net::SocketAddr,
    /// How often the bucket is read
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub(crate) refresh: Duration,
    /// How often a drill is due, for the alerts
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub(crate) drill_interval: Duration,
}

#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) from: From,
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: String,
    /// Destinations to look at
    #[arg(long = "to", value_name = "URL")]
    pub(crate) to: Vec<To>,
    /// Spool directory to look at
    #[arg(long, value_name = "DIR")]
    pub(crate) spool_dir: Option<PathBuf>,
    /// How the findings are printed
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}
