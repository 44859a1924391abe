//! The S3 server that outlives the pods: the embedded one of the tests, or MinIO, over a directory that stays when the server goes.
//!
//! MinIO is what the users run; the embedded one also tells which requests it got. Both listen on loopback with the same keys and the same bucket,
//! so a scenario does not know which one it has. What it does not do: make a server fail in other ways than being away.

use anyhow::{Context, Result, ensure};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::procs::{Proc, free_port};
use testkit::s3::{ACCESS_KEY, Client, S3Server, SECRET_KEY};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone)]
pub(super) enum Kind {
    Embedded,
    /// This program.
    Minio(PathBuf),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Embedded => f.write_str("the embedded S3 server"),
            Kind::Minio(_) => f.write_str("MinIO"),
        }
    }
}

/// A running server; gone when dropped, what it holds stays.
pub(super) enum Store {
    Embedded(S3Server),
    Minio { _process: Proc, port: u16 },
}

impl Store {
    /// Starts over `dir`, on this port or a free one, and returns when the bucket is there.
    pub(super) fn start(kind: &Kind, dir: &Path, port: Option<u16>) -> Result<Self> {
        let program = match (kind, port) {
            (Kind::Embedded, None) => return Ok(Self::Embedded(S3Server::start_in(dir.to_owned()))),
            (Kind::Embedded, Some(port)) => {
                return Ok(Self::Embedded(S3Server::start_in_on(dir.to_owned(), port)));
            }
            (Kind::Minio(program), _) => program,
        };
        let (port, console) = (port.unwrap_or_else(free_port), free_port());
        // It writes below its home, too.
        let home = dir.parent().context("below a scratch directory")?.join("minio-home");
        fs::create_dir_all(&home)?;
        let mut command = Command::new(program);
        command.args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")]);
        command.args(["--console-address", &format!("127.0.0.1:{console}")]).arg(dir);
        command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY).env("HOME", home);
        let mut process = Proc::start(command);
        let mut client = Client::new(port);
        let begun = Instant::now();
        loop {
            // 409: the bucket is there since the first start.
            let answer = client.send("PUT", "", "", &[], b"");
            if answer.is_ok_and(|reply| reply.status == 200 || reply.status == 409) {
                return Ok(Self::Minio { _process: process, port });
            }
            ensure!(
                process.is_running() && begun.elapsed() < PATIENCE,
                "MinIO does not start:\n{}",
                process.log_tail()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its port on loopback.
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Embedded(server) => server.port(),
            Self::Minio { port, .. } => *port,
        }
    }

    /// Credentials, under the names that every S3 client reads.
    pub(super) fn env(&self) -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
    }

    /// The last requests; nothing of a server that does not tell.
    pub(super) fn requests(&self) -> Vec<String> {
        match self {
            Self::Embedded(server) => server.log().iter().map(|request| format!("{request:?}")).collect(),
            Self::Minio { .. } => Vec::new(),
        }
    }
}
