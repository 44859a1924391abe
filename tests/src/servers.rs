//! Object stores that other people wrote, as processes of a test: MinIO and Garage, each on the loopback interface with an empty
//! directory of its own, ended with the test.
//!
//! The programs are handed over in environment variables by `cargo xtask test --full`; without one a test says what it would have
//! proven.

use std::fs;
use std::process::Command;

use tempfile::TempDir;
use testkit::procs::{self, Proc};
use testkit::s3::{ACCESS_KEY, BUCKET, Client, SECRET_KEY};

use crate::interop::{PATIENCE, Replica, output, program};

/// A running server with one empty bucket.
#[derive(Debug)]
pub struct Server {
    process: Proc,
    port: u16,
    keys: (String, String),
    _dir: TempDir,
}

impl Server {
    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client with its keys.
    pub fn client(&self) -> Client {
        Client::new(self.port).with_credentials(&self.keys.0, &self.keys.1)
    }

    /// The key's name.
    pub fn key(&self) -> &str {
        &self.keys.0
    }

    /// The key's secret.
    pub fn secret(&self) -> &str {
        &self.keys.1
    }

    /// Credentials with this secret, for our programs.
    pub fn env(&self, secret: &str) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![pair("AWS_ACCESS_KEY_ID", &self.keys.0), pair("AWS_SECRET_ACCESS_KEY", secret)]
    }

    /// A replica in this bucket, with the right keys.
    pub fn replica(&self, bucket: &str, prefix: &str) -> Replica {
        Replica::at(&self.endpoint(), bucket, prefix, self.env(&self.keys.1))
    }
}

/// MinIO, with a bucket.
pub fn minio(proves: &str) -> Option<Server> {
    let program = program("HIGHWATER_MINIO", proves)?;
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (port, console) = (procs::free_port(), procs::free_port());
    let mut command = Command::new(program);
    command.args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")]);
    command.args(["--console-address", &format!("127.0.0.1:{console}")]).arg(dir.path().join("data"));
    command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY).env("HOME", dir.path());
    let process = Proc::start(command);
    let keys = (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned());
    let mut server = Server { process, port, keys, _dir: dir };
    let mut client = server.client();
    server.process.wait_until(PATIENCE, "a bucket", || {
        client.send("PUT", "", "", &[], b"").is_ok_and(|reply| reply.status == 200)
    });
    Some(server)
}

/// Garage, one node, all defaults that allow it.
pub fn garage(proves: &str) -> Option<Server> {
    let program = program("HIGHWATER_GARAGE", proves)?;
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (port, rpc) = (procs::free_port(), procs::free_port());
    let config = dir.path().join("garage.toml");
    let root = dir.path().display();
    let secret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let settings = format!(
        "metadata_dir = \"{root}/meta\"\ndata_dir = \"{root}/data\"\ndb_engine = \"sqlite\"\n\
         replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_secret = \"{secret}\"\n[s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{port}\"\n\
         root_domain = \".s3.garage\"\n"
    );
    fs::write(&config, settings).expect("the configuration can be written");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("-c").arg(&config).args(arguments);
        command
    };
    let mut process = Proc::start(command(&["server"]));
    let mut node = String::new();
    process.wait_until(PATIENCE, "a node", || {
        let asked = command(&["node", "id", "-q"]).output().expect("garage starts");
        node = String::from_utf8_lossy(&asked.stdout).split('@').next().unwrap_or_default().trim().to_owned();
        asked.status.success() && command(&["status"]).output().expect("garage starts").status.success()
    });
    let keys = (format!("GK{}", &secret[..24]), secret.to_owned());
    for arguments in [
        &["layout", "assign", "-z", "here", "-c", "1G", &node][..],
        &["layout", "apply", "--version", "1"],
        &["bucket", "create", BUCKET],
        &["key", "import", "--yes", &keys.0, &keys.1],
        &["bucket", "allow", "--read", "--write", "--owner", BUCKET, "--key", &keys.0],
    ] {
        output(&mut command(arguments));
    }
    Some(Server { process, port, keys, _dir: dir })
}
