//! Where replicas live in a test: the embedded S3 server, or a directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use testkit::procs;
use testkit::s3::S3Server;

use crate::{Outcome, run, snapshot, without_our_variables};

/// A store for replicas, each under a prefix of its own.
#[derive(Debug)]
pub enum Place {
    /// An S3 server.
    S3(S3Server),
    /// A directory, addressed with `file://`.
    Directory(TempDir),
}

impl Place {
    /// A fresh S3 server.
    pub fn s3() -> Place {
        Place::S3(S3Server::start())
    }

    /// A fresh directory.
    pub fn directory() -> Place {
        Place::Directory(tempfile::tempdir().expect("a scratch directory"))
    }

    /// The S3 server.
    pub fn server(&self) -> &S3Server {
        match self {
            Place::S3(server) => server,
            Place::Directory(_) => panic!("this place is a directory"),
        }
    }

    /// URL of the replica under this prefix.
    pub fn url(&self, prefix: &str) -> String {
        match self {
            Place::S3(server) => server.url(prefix),
            Place::Directory(dir) => format!("file://{}?create=true", dir.path().join(prefix).display()),
        }
    }

    /// Directory that holds the objects of a prefix.
    pub fn root(&self, prefix: &str) -> PathBuf {
        match self {
            Place::S3(server) => server.object(prefix),
            Place::Directory(dir) => dir.path().join(prefix),
        }
    }

    /// Directory of the files of level 0.
    pub fn level0(&self, prefix: &str) -> PathBuf {
        self.root(prefix).join(match self {
            Place::S3(_) => "0000",
            Place::Directory(_) => "ltx/0",
        })
    }

    /// The LTX files of level 0, oldest first.
    pub fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.level0(prefix)) else { return Vec::new() };
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension() == Some(OsStr::new("ltx")));
        files.sort();
        files
    }

    /// All objects of a prefix and their bytes: two of these are equal when nothing was written, changed or removed.
    pub fn objects(&self, prefix: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        snapshot(&self.root(prefix))
    }

    /// A binary of the workspace with the credentials of this place and no others.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(procs::bin(program));
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        without_our_variables(&mut command);
        if let Place::S3(server) = self {
            command.envs(server.env());
        }
        command
    }

    /// `restore sqlite` of a prefix, with further arguments.
    #[track_caller]
    pub fn restore<S: AsRef<OsStr>>(&self, prefix: &str, output: &Path, more: &[S]) -> Outcome {
        let mut command = self.command("restore");
        command.arg("sqlite").arg(self.url(prefix)).arg("-o").arg(output).args(more);
        run(command)
    }

    /// `restore list -o json` of a prefix.
    #[track_caller]
    pub fn points(&self, prefix: &str) -> Vec<Value> {
        let mut command = self.command("restore");
        command.args(["list", &self.url(prefix), "-o", "json"]);
        let listed = run(command);
        listed.expect(0);
        serde_json::from_str(&listed.stdout).expect("the list is JSON")
    }

    /// The TXIDs that can be restored, oldest first.
    #[track_caller]
    pub fn txids(&self, prefix: &str) -> Vec<String> {
        let points = self.points(prefix);
        points.iter().map(|point| point["txid"].as_str().expect("a TXID is text").to_owned()).collect()
    }
}
