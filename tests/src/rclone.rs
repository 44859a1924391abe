//! The rclone of the distribution: what wrote the old mirrors, and what a mirror of ours is pulled with.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

use crate::servers::Server;

/// rclone with one remote.
#[derive(Debug)]
pub struct Rclone {
    endpoint: String,
    key: String,
    secret: String,
}

impl Rclone {
    /// For the server of the test bench.
    pub fn of(server: &S3Server) -> Rclone {
        Rclone { endpoint: server.endpoint(), key: ACCESS_KEY.into(), secret: SECRET_KEY.into() }
    }

    /// For a server that other people wrote.
    pub fn of_another(server: &Server) -> Rclone {
        Rclone { endpoint: server.endpoint(), key: server.key().into(), secret: server.secret().into() }
    }

    /// A prefix, as rclone names it.
    pub fn remote(prefix: &str) -> String {
        format!("there:{BUCKET}/{prefix}")
    }

    /// Everything a mirror holds. In two steps, because rclone 1.60 fails at the metadata of links, whoever wrote them: it wants to set an
    /// attribute that a link cannot have.
    #[track_caller]
    pub fn pull(&self, prefix: &str, to: &Path) -> bool {
        let from = Rclone::remote(prefix);
        self.sync(&from, to, &["--metadata", "--exclude", "*.rclonelink"])
            && self.sync(&from, to, &["--links"])
    }

    /// `rclone sync`; false, and the reason printed, if there is no rclone.
    #[track_caller]
    pub fn sync(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>, more: &[&str]) -> bool {
        let mut command = Command::new("rclone");
        command.arg("sync").arg(from).arg(to).args(more);
        command.args(["--s3-no-check-bucket", "--config", "/dev/null", "--retries", "1"]);
        for (key, value) in [
            ("TYPE", "s3"),
            ("PROVIDER", "Minio"),
            ("ENDPOINT", &self.endpoint),
            ("ACCESS_KEY_ID", &self.key),
            ("SECRET_ACCESS_KEY", &self.secret),
            ("REGION", "us-east-1"),
        ] {
            command.env(format!("RCLONE_CONFIG_THERE_{key}"), value);
        }
        // It refuses to start with a bundle of certificates it does not need.
        command.env_remove("AWS_CA_BUNDLE");
        match command.stdout(Stdio::null()).output() {
            Ok(done) if done.status.success() => true,
            Ok(done) => panic!("rclone: {}", String::from_utf8_lossy(&done.stderr)),
            Err(error) => {
                println!("skipped: rclone: {error}");
                false
            }
        }
    }
}
