//! Real etcd servers on loopback, alone or in clusters with TLS and client certificates.
//!
//! The programs are those of `$HIGHWATER_ETCD_DIR`, else those of the path; without them [`Cluster::start`] says why, and the test
//! prints that it skips. Every server has its own directory and ports and is gone after the test.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::pki::{Certificate, Pki, Validity};
use crate::procs::{Proc, free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);

/// A program of etcd: `etcd`, `etcdctl`, `etcdutl`.
pub fn program(name: &str) -> Option<PathBuf> {
    let dirs = match std::env::var_os("HIGHWATER_ETCD_DIR") {
        Some(dir) => vec![PathBuf::from(dir)],
        None => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect(),
    };
    dirs.into_iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// One server.
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client: String,
    peer: String,
    dir: PathBuf,
    proc: Option<Proc>,
}

/// Servers that belong together.
pub struct Cluster {
    /// The servers.
    pub members: Vec<Member>,
    /// The authority of all certificates, where there is TLS.
    pub pki: Option<Pki>,
    /// The client certificate.
    pub client: Option<Certificate>,
    etcd: PathBuf,
    etcdctl: PathBuf,
    server: Option<Certificate>,
    scratch: TempDir,
}

impl Cluster {
    /// `count` servers, with TLS and client certificates if wanted; `Err` says why there are none.
    pub fn start(count: usize, tls: bool) -> Result<Cluster, String> {
        let missing = |name| format!("{name} is not installed (apt-get install etcd-server etcd-client)");
        let etcd = program("etcd").ok_or_else(|| missing("etcd"))?;
        let etcdctl = program("etcdctl").ok_or_else(|| missing("etcdctl"))?;
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let pki = tls.then(|| Pki::new(scratch.path(), "etcd"));
        let issue =
            |name: &str| pki.as_ref().map(|pki| pki.issue(name, &["localhost", "127.0.0.1"], Validity::Now));
        let (server, client) = (issue("server"), issue("client"));
        let scheme = if tls { "https" } else { "http" };
        let members = (0..count)
            .map(|index| Member {
                name: format!("m{index}"),
                client: format!("{scheme}://127.0.0.1:{}", free_port()),
                peer: format!("{scheme}://127.0.0.1:{}", free_port()),
                dir: scratch.path().join(format!("m{index}")),
                proc: None,
            })
            .collect();
        let mut cluster = Cluster { members, pki, client, etcd, etcdctl, server, scratch };
        for index in 0..count {
            cluster.resume(index);
        }
        cluster.settle();
        Ok(cluster)
    }

    /// Waits until all running members answer reads of the whole cluster, have one leader and hold the same revision, and every member
    /// has announced where its clients reach it. That one is healthy says nothing of the others.
    #[track_caller]
    pub fn settle(&self) {
        wait_until(PATIENCE, "etcd is healthy and of one mind", || self.is_settled());
    }

    fn is_settled(&self) -> bool {
        let running: Vec<&str> =
            self.members.iter().filter(|m| m.proc.is_some()).map(|m| m.client.as_str()).collect();
        let all = running.join(",");
        let Ok(status) = self.try_at(&all, &["endpoint", "status", "-w", "fields"], "") else {
            return false;
        };
        // Lines like `"Revision" : 5`; one of each kind per member.
        let same = |field: &str| {
            let values: Vec<&str> = status
                .lines()
                .filter_map(|line| line.split_once(" : ").filter(|(name, _)| name.trim_matches('"') == field))
                .map(|(_, value)| value.trim())
                .collect();
            values.len() == running.len() && values.iter().all(|value| *value == values[0] && *value != "0")
        };
        same("Revision")
            && same("Leader")
            && self.try_at(&all, &["endpoint", "health"], "").is_ok()
            && self
                .try_ctl(&["member", "list", "-w", "simple"], "")
                .is_ok_and(|list| self.members.iter().all(|member| list.contains(&member.client)))
    }

    /// A server over an existing data directory or none, alone.
    pub fn resume(&mut self, index: usize) {
        let initial: Vec<String> = self.members.iter().map(|m| format!("{}={}", m.name, m.peer)).collect();
        self.launch(index, &initial.join(","), "new");
    }

    fn launch(&mut self, index: usize, initial: &str, state: &str) {
        let member = &self.members[index];
        let mut command = Command::new(&self.etcd);
        command
            .env("ETCD_UNSUPPORTED_ARCH", "arm64")
            // A benchmark fills more than the 2 GiB that are the default.
            .env("ETCD_QUOTA_BACKEND_BYTES", "8589934592")
            .env("ETCD_MAX_TXN_OPS", "5000")
            .args(["--name", &member.name, "--data-dir"])
            .arg(&member.dir)
            .args(["--listen-client-urls", &member.client, "--advertise-client-urls", &member.client])
            .args(["--listen-peer-urls", &member.peer, "--initial-advertise-peer-urls", &member.peer])
            .args(["--initial-cluster", initial, "--initial-cluster-state", state, "--log-level", "warn"])
            // A busy machine is not to cost a leader.
            .args(["--heartbeat-interval", "300", "--election-timeout", "3000"]);
        if let (Some(pki), Some(server)) = (&self.pki, &self.server) {
            for prefix in ["", "peer-"] {
                command.arg(format!("--{prefix}trusted-ca-file={}", pki.ca().display()));
                command.arg(format!("--{prefix}cert-file={}", server.cert.display()));
                command.arg(format!("--{prefix}key-file={}", server.key.display()));
                command.arg(format!("--{prefix}client-cert-auth"));
            }
        }
        let log = self.scratch.path().join(format!("{}.log", member.name));
        self.members[index].proc = Some(Proc::start_logged(command, &log));
    }

    /// Adds a member as a learner; its index.
    pub fn add_learner(&mut self) -> usize {
        let scheme = if self.pki.is_some() { "https" } else { "http" };
        let index = self.members.len();
        let peer = format!("{scheme}://127.0.0.1:{}", free_port());
        let name = format!("m{index}");
        self.ctl(&["member", "add", &name, "--learner", &format!("--peer-urls={peer}")], "");
        let initial: Vec<String> = self.members.iter().map(|m| format!("{}={}", m.name, m.peer)).collect();
        let initial = format!("{},{name}={peer}", initial.join(","));
        self.members.push(Member {
            client: format!("{scheme}://127.0.0.1:{}", free_port()),
            dir: self.scratch.path().join(&name),
            name,
            peer,
            proc: None,
        });
        self.launch(index, &initial, "existing");
        let url = self.members[index].client.clone();
        wait_until(PATIENCE, "the learner listens", || {
            std::net::TcpStream::connect(url.rsplit('/').next().unwrap_or_default()).is_ok()
        });
        index
    }

    /// Kills a member.
    pub fn stop(&mut self, index: usize) {
        self.members[index].proc = None;
    }

    /// Stops or continues a member without killing it.
    pub fn signal(&mut self, index: usize, signal: nix::sys::signal::Signal) {
        if let Some(proc) = &mut self.members[index].proc {
            proc.signal(signal);
        }
    }

    /// Who leads.
    #[track_caller]
    pub fn leader(&self) -> usize {
        let lines = self.ctl(&["endpoint", "status", "--cluster", "-w", "simple"], "");
        // "is leader" and "is learner" stand side by side in every version.
        let line = lines.lines().find(|line| line.contains(", true, false,")).expect("a leader");
        self.members.iter().position(|member| line.starts_with(&member.client)).expect("one of ours")
    }

    /// All addresses for clients.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.clone()).collect()
    }

    /// Runs `etcdctl` against the first running member; its output.
    #[track_caller]
    pub fn ctl(&self, args: &[&str], stdin: &str) -> String {
        self.try_ctl(args, stdin).unwrap_or_else(|error| panic!("etcdctl {args:?}: {error}"))
    }

    /// As [`Self::ctl`]; its complaint where it fails.
    pub fn try_ctl(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        let member = self.members.iter().find(|member| member.proc.is_some()).expect("a running member");
        self.try_at(&member.client, args, stdin)
    }

    fn try_at(&self, endpoints: &str, args: &[&str], stdin: &str) -> Result<String, String> {
        let mut command = self.etcdctl();
        command.args(["--endpoints", endpoints]);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut input = child.stdin.take().expect("piped");
        let _ = input.write_all(stdin.as_bytes());
        drop(input);
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn etcdctl(&self) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command.env("ETCDCTL_API", "3").args(["--command-timeout=30s", "--dial-timeout=10s"]);
        if let (Some(pki), Some(client)) = (&self.pki, &self.client) {
            command.arg(format!("--cacert={}", pki.ca().display()));
            command.arg(format!("--cert={}", client.cert.display()));
            command.arg(format!("--key={}", client.key.display()));
        }
        command
    }

    /// Puts keys, 100 per transaction; keys and values may hold Go's escapes (`\x00`).
    #[track_caller]
    pub fn put(&self, pairs: &[(String, String)]) {
        for chunk in pairs.chunks(100) {
            let lines: Vec<String> =
                chunk.iter().map(|(key, value)| format!("put \"{key}\" \"{value}\"")).collect();
            self.ctl(&["txn"], &format!("\n{}\n\n\n", lines.join("\n")));
        }
    }

    /// A cluster that looks like Kubernetes: `kube-system` with this UID, some secrets and config maps.
    #[track_caller]
    pub fn fill(&self, uid: &str, count: usize) {
        let namespace = format!(
            r#"{{\"kind\":\"Namespace\",\"metadata\":{{\"name\":\"kube-system\",\"uid\":\"{uid}\"}}}}"#
        );
        let mut pairs = vec![("/registry/namespaces/kube-system".to_owned(), namespace)];
        for index in 0..count {
            pairs.push((
                format!("/registry/secrets/default/s{index:05}"),
                format!("value-{index}-{}", "x".repeat(200)),
            ));
            if index % 3 == 0 {
                pairs.push((format!("/registry/configmaps/default/c{index:05}"), format!("map-{index}")));
            }
            if index % 10 == 0 {
                pairs.push((format!("/registry/cilium.io/ciliumnodes/n{index:05}"), "node".to_owned()));
            }
        }
        self.put(&pairs);
    }

    /// A snapshot by `etcdctl`, for comparison.
    #[track_caller]
    pub fn snapshot(&self, path: &Path) {
        self.ctl(&["snapshot", "save", &path.to_string_lossy()], "");
    }

    /// What `snapshot status` of these tools says, as JSON (`etcdutl` where it exists, as 3.6 demands).
    #[track_caller]
    pub fn snapshot_status(path: &Path) -> String {
        let tool =
            program("etcdutl").or_else(|| program("etcdctl")).expect("checked when the cluster started");
        let output = Command::new(tool)
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "status", "-w", "json"])
            .arg(path)
            .output()
            .expect("the tool starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Scratch space that lives as long as the cluster.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.proc = None;
        }
        let _ = fs::remove_dir_all(self.scratch.path());
    }
}
